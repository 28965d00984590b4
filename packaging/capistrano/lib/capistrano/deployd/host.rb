# frozen_string_literal: true

require "json"
require "shellwords"

# deployd on one host, for one app. Commands that fail raise SSHKit::Command::Failed, with what deployd says.
class Capistrano::Deployd::Host
  NOTHING_RESTARTED = 6 # an exit status of deployd(1)

  def initialize(backend, app, sudo: false, user_mode: false)
    @backend = backend
    @app = app
    @sudo = sudo
    @mode = user_mode ? ["--user"] : []
  end

  # Write the app file, unless there is one.
  def install(release, options)
    return @backend.info("#{@app}: #{app_file} exists") if @backend.test("[ -e #{app_file} ]")

    privileged :deployd, "init", @app, "--release", release, *options
  end

  # Start the app, or deploy it for the first time.
  def start
    return systemctl("start") if deployed?

    privileged :deployd, "apply", @app
  end

  def systemctl(verb)
    privileged :systemctl, "--no-ask-password", verb, "#{@app}.service"
  end

  def rollout(release, fleet, token)
    deployd "rollout", "--release", release, "--fleet", fleet, "--token", token, unless_restarted: "true"
  end

  # Roll out a release and the app file, or, if both are live already, replace every process.
  def smart_restart(release)
    deployd "rollout", "--release", release, unless_restarted: line(:deployd, "restart", @app)
  end

  def restart
    deployd "restart"
  end

  # Roll back to a generation, or to the one that deployd chooses.
  def rollback(generation = nil)
    deployd "rollback", *(["--to", generation] if generation)
  end

  # Return the release that is live; nil if nothing is deployed.
  def live
    status["release"]
  end

  # Wait for a rollout in progress, unless it is paused; return the release that is live then.
  def settled
    now = status
    return now["release"] unless ["rolling", "rolling-back"].include? now.dig("rollout", "phase")

    @backend.test(*command(:deployd, "wait", @app))
    live
  end

  # Return the newest generation in which a release succeeded, :live if it is the live one. Raises if there is none.
  def generation_to_return_to(release)
    return :live if live == release

    text = @backend.capture(*command(:deployd, "history", @app, "--number", 200, "--json"))
    return if text.empty? # a dry run

    good = JSON.parse(text)["generations"].select { |generation| generation["result"] == "succeeded" }
    found = good.find { |generation| generation["release"] == release }
    return found["generation"] if found

    known = good.map { |generation| File.basename(generation["release"]) }.uniq
    raise "#{File.basename(release)} was never live on #{@backend.host}; name one that was with ROLLBACK_RELEASE: #{known.join(" ")}"
  end

  # Have the link `current` lead to the live release, if that is one of Capistrano's.
  def link_live(current, releases)
    release = live
    return if release.nil? || File.dirname(release) != releases.to_s

    temporary = "#{current}.#{File.basename(release)}"
    @backend.execute :ln, "-sfn", release.shellescape, temporary.shellescape
    @backend.execute :mv, "-fT", temporary.shellescape, current.to_s.shellescape
  end

  # Run the block; a failure is only a warning.
  def attempt
    yield
  rescue StandardError => e
    @backend.warn "#{@backend.host}: #{e.message}"
  end

  # Return what `deployd status` prints.
  def overview
    @backend.capture(*command(:deployd, "status", @app))
  end

  private

  def status
    JSON.parse(@backend.capture(*command(:deployd, "status", @app, "--json"), raise_on_non_zero_exit: false))
  rescue JSON::ParserError
    {} # a dry run, or a deployd that does not answer, which the next command reports
  end

  def deployed?
    !status["generation"].nil?
  end

  def app_file
    directory = @mode.empty? ? "/etc" : "${XDG_CONFIG_HOME:-$HOME/.config}"
    "#{directory}/deployd/apps/#{@app}.toml"
  end

  # `unless_restarted`: the command for a rollout that had no process to replace.
  def deployd(verb, *arguments, unless_restarted: nil)
    otherwise = unless_restarted ? ["|| { [ $? -eq #{NOTHING_RESTARTED} ] && #{unless_restarted}; }"] : []
    @backend.execute(*command(:deployd, verb, @app, *arguments), *otherwise)
  end

  def privileged(program, *arguments)
    words = command(program, *arguments)
    @backend.execute(*(@sudo ? [:sudo, *words] : words))
  end

  def command(program, *arguments)
    mode = program == :deployd ? [*@mode, "--no-ask-password"] : @mode
    [program, *mode, *arguments.map { |argument| argument.to_s.shellescape }]
  end

  def line(*words)
    command(*words).join(" ")
  end
end
