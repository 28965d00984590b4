# frozen_string_literal: true

Gem::Specification.new do |spec|
  spec.name = "capistrano-deployd"
  spec.version = "0.1.0"
  spec.authors = ["The authors of deployd"]
  spec.summary = "Roll out releases of Capistrano with deployd, one host after another."
  spec.license = "MIT"
  spec.files = Dir.chdir(__dir__) { Dir["README.md", "lib/**/*.{rb,rake}"] }
  spec.required_ruby_version = ">= 2.7"
  spec.add_dependency "capistrano", "~> 3.17"
end
