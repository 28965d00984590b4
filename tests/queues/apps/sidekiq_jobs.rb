# Jobs of Sidekiq. `behaviour` of the release: good, crash (when it is loaded) or hang.
require "sidekiq"

behaviour = File.read("behaviour").strip
raise "this release is broken" if behaviour == "crash"
sleep if behaviour == "hang"

class Job
  include Sidekiq::Worker

  def perform(number, seconds)
    say "begin", number
    sleep seconds
    say "end", number
  end

  def say(what, number)
    line = "#{what} #{number} #{ENV["DEPLOYD_INSTANCE"]} #{ENV["DEPLOYD_GENERATION"]}"
    Sidekiq.redis { |redis| redis.rpush("log", line) }
  end
end
