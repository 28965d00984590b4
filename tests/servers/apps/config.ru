# The app of puma. The file `behaviour` of the release says what is wrong with it; see tests/servers/server.py.
require "json"

sleep ENV["BOOT"].to_f
behaviour = File.read("behaviour").strip
raise "this release crashes" if behaviour == "crash"
if behaviour == "late"
  sleep 1
  require "no_such_library"
end
sleep 3600 if behaviour == "hang"

generation, instance = %w[GENERATION INSTANCE].map { |name| ENV["DEPLOYD_#{name}"].to_i }
version = File.basename(Dir.pwd)
identity = -> { JSON.dump(generation: generation, version: version, instance: instance, pid: Process.pid) }
json = { "Content-Type" => "application/json" }

run(lambda do |env|
  next [500, { "Content-Type" => "text/plain" }, ["this release answers 500\n"]] if behaviour == "errors"

  case env["PATH_INFO"]
  when "/slow"
    sleep env["QUERY_STRING"][/seconds=([\d.]+)/, 1].to_f
    [200, json, [identity.call]]
  when "/upload"
    [200, json, [JSON.dump(received: env["rack.input"].read.length)]]
  when "/download"
    [200, { "Content-Type" => "application/octet-stream" }, ["x" * 4_000_000]]
  else
    [200, json, [identity.call]]
  end
end)
