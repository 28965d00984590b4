"""Presets: app files for the servers that people run, and the search for the right one in a release.

    preset         a preset: what its server can do, and by what it is recognised; from the text of preset.toml
    catalog        where presets are found, and reading them
    release_files  reads the few files of a release that say which server it runs; bounded, follows no symlink
    project        what was read
    readers        pure: what Gemfile.lock, package.json, Procfile, … say
    facts          what is known of a release
    detection      pure: facts and presets to proposals, best first, each with its reason
    proposing      chooses one, and says what to look at
    addresses      a loopback address that no other app has
    installed      the programs of this machine that presets look for
    rendering      a preset's template and values to the text of an app file
    app_file       writes it whole, or not at all

A preset is a folder of presets/ with a preset.toml and an app.toml.j2. Another one needs no code.
"""
