# frozen_string_literal: true

require "capistrano/plugin"

# Rolls out the releases of Capistrano with deployd, one host after another. For the Capfile:
#
#   require "capistrano/deployd"
#   install_plugin Capistrano::Deployd
class Capistrano::Deployd < Capistrano::Plugin
  def set_defaults
    set_if_empty :deployd_app, -> { fetch(:application) }
    set_if_empty :deployd_roles, :app
    set_if_empty :deployd_wait, 0
    set_if_empty :deployd_sudo, false
    set_if_empty :deployd_user_mode, false
    set_if_empty :deployd_init_options, []
    set_if_empty :deployd_rollback_on_failure, true
    # The same on all hosts, and a new one for each run of Capistrano.
    set_if_empty :deployd_fleet, -> { "capistrano-#{now}" }
    set_if_empty :deployd_token, -> { now }
  end

  def register_hooks
    after "deploy:published", "deployd:rollout"
    after "deploy:reverted", "deployd:rollback"
    after "deploy:failed", "deployd:failed"
  end

  def define_tasks
    eval_rakefile File.expand_path("tasks/deployd.rake", __dir__)
  end

  private

  # Yield a Host for each of the servers, one after another. The first failure ends that.
  def each_host(servers = all_servers)
    app, options = fetch(:deployd_app), { sudo: fetch(:deployd_sudo), user_mode: fetch(:deployd_user_mode) }
    on servers, in: :sequence, wait: fetch(:deployd_wait) do |server|
      yield Host.new(self, app, **options), server
    end
  end

  def all_servers
    servers = roles(fetch(:deployd_roles))
    raise "no server has the role #{fetch(:deployd_roles)}; set :deployd_roles" if servers.empty?

    servers
  end

  # True while deploy:rollback runs, which has its release from Capistrano.
  def reverting?
    !fetch(:rollback_timestamp).nil?
  end

  # Return to a release that was live on all hosts, which is asked of each before any is changed.
  def revert_to(release)
    generations = {}
    each_host { |host, server| generations[server.hostname] = host.generation_to_return_to(release) }
    each_host do |host, server|
      generation = generations[server.hostname]
      host.rollback(generation) unless generation == :live
    end
  end

  def roll_out(release)
    @begun = []
    each_host do |host, server|
      @begun << server.hostname unless host.live == release
      host.rollout(release, fetch(:deployd_fleet), fetch(:deployd_token))
    end
  end

  # Roll back the hosts that have the release, newest first, and have all links lead to what is live. A host that fails
  # keeps no other from that.
  def undo(release)
    done = fetch(:deployd_rollback_on_failure) ? @begun : []
    back = all_servers.select { |server| done.include?(server.hostname) }.reverse
    each_host(back) { |host| host.attempt { host.rollback if host.settled == release } }
    each_host { |host| host.attempt { host.link_live(current_path, releases_path) } }
  end
end

require "capistrano/deployd/host"
