# frozen_string_literal: true

namespace :deployd do
  desc "Write the app file on hosts that have none (deployd init)"
  task :install do
    each_host { |host| host.install(current_path, fetch(:deployd_init_options)) }
  end

  desc "Start the app (systemctl start; deployd apply for the first time)"
  task :start do
    each_host { |host| host.start }
  end

  desc "Stop the app, and close its addresses (systemctl stop)"
  task :stop do
    each_host { |host| host.systemctl("stop") }
  end

  desc "Replace every process by a new one of the live release (deployd restart)"
  task :restart do
    each_host { |host| host.restart }
  end

  desc "Roll out the release, one host after another (deployd rollout)"
  task :rollout do
    roll_out(release_path.to_s) unless reverting?
  end

  desc "Roll out what the link current leads to; if that is live already, restart"
  task :smart_restart do
    each_host { |host| host.smart_restart(current_path) }
  end

  desc "Return to the release before (deployd rollback)"
  task :rollback do
    if reverting?
      revert_to(release_path.to_s)
    else
      each_host do |host|
        host.rollback
        host.link_live(current_path, releases_path)
      end
    end
  end

  desc "Show the instances of the app (deployd status)"
  task :status do
    each_host { |host, server| puts server.hostname, host.overview }
  end

  # After deploy:failed. What failed before the first rollout has changed nothing.
  task :failed do
    undo(release_path.to_s) if @begun
  end
end
