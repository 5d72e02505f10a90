//! Trees of modules on disk and what agents are told of them.

#![expect(
    clippy::unwrap_used,
    reason = "tests and what they are made of; the exception in clippy.toml does not reach this far"
)]

use std::{
    fs,
    io::Read,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, symlink},
        net::UnixListener,
    },
    path::Path,
    process::Command,
};

use bunraku_files::{ChecksumType, Error, Links, Metadata, Options, Permissions, Settings, Tree, Walk};
use serde_json::{Value, json};

/// A state folder with the files named, each holding its own path; a name that ends in `/` is a folder.
struct World {
    state: tempfile::TempDir,
    tree: Tree,
}

impl World {
    fn new(files: &[&str]) -> Self {
        let state = tempfile::tempdir().unwrap();
        for file in files {
            let path = state.path().join(file);
            if file.ends_with('/') {
                fs::create_dir_all(path).unwrap();
            } else {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, file).unwrap();
            }
        }
        let (modules, environments) = (state.path().join("modules"), state.path().join("environments"));
        Self { tree: Tree::new(Settings { modules, environments }), state }
    }

    fn path(&self, file: &str) -> String {
        fs::canonicalize(self.state.path()).unwrap().join(file).to_str().unwrap().into()
    }

    fn link(&self, to: &str, at: &str) {
        symlink(to, self.state.path().join(at)).unwrap();
    }

    /// The relative paths of a list, and what each is.
    fn list(&self, mount: &str, path: &str, options: &Options, walk: &Walk) -> String {
        let list = match self.tree.metadatas(mount, path, "production", options, walk) {
            Ok(list) => list,
            Err(error) => return error.to_string(),
        };
        let line = |entry: Metadata| {
            let kind = serde_json::to_value(entry.file_type).unwrap();
            format!("{} {}", entry.relative_path.unwrap(), kind.as_str().unwrap())
        };
        list.into_iter().map(line).collect::<Vec<_>>().join("\n")
    }

    fn content(&self, mount: &str, path: &str, environment: &str) -> Result<String, Error> {
        let mut content = self.tree.content(mount, path, environment)?;
        let mut text = String::new();
        content.file.read_to_string(&mut text).unwrap();
        assert_eq!(content.length, u64::try_from(text.len()).unwrap());
        Ok(text)
    }
}

const FOLLOW: Options =
    Options { checksum: ChecksumType::Sha256, links: Links::Follow, permissions: Permissions::Use };

fn manage() -> Options {
    Options::default()
}

fn wire(metadata: impl serde::Serialize) -> Value {
    serde_json::to_value(metadata).unwrap()
}

fn sha256(path: &str) -> String {
    let said = Command::new("sha256sum").arg(path).output().unwrap();
    let sum = String::from_utf8(said.stdout).unwrap();
    format!("{{sha256}}{}", sum.split_whitespace().next().unwrap())
}

#[test]
fn the_wire_objects_are_those_that_were_recorded() {
    // Recording 03-first-run-after-sign, exchanges 31 and 36, and for `use` exchange 4.
    let world = World::new(&["modules/demo/files/tree/a.txt", "modules/demo/files/tree/sub/b.txt"]);
    let base = world.path("modules/demo/files/tree");
    let a = format!("{base}/a.txt");
    fs::set_permissions(&a, fs::Permissions::from_mode(0o4750)).unwrap();
    let stat = fs::metadata(&a).unwrap();
    let one = world.tree.metadata("modules", "demo/tree/a.txt", "production", &manage()).unwrap();
    assert_eq!(
        wire(one),
        json!({"path": a, "relative_path": null, "links": "manage", "owner": stat.uid(), "group": stat.gid(),
            "mode": 420, "checksum": {"type": "sha256", "value": sha256(&a)}, "type": "file", "destination": null})
    );
    let text = serde_json::to_string(
        &world.tree.metadatas("modules", "demo/tree", "production", &FOLLOW, &Walk::all()).unwrap(),
    )
    .unwrap();
    let time = |path: &str| {
        let at = format!("@{}", fs::metadata(path).unwrap().ctime());
        let said = Command::new("date").args(["-u", "+%F %T +0000", "-d", &at]).output().unwrap();
        format!("{{ctime}}{}", String::from_utf8(said.stdout).unwrap().trim())
    };
    let entry = |relative: &str, mode: u32, kind: &str, sum: String, file_type: &str| {
        json!({"path": base, "relative_path": relative, "links": "follow", "owner": stat.uid(), "group": stat.gid(),
            "mode": mode, "checksum": {"type": kind, "value": sum}, "type": file_type, "destination": null})
    };
    let (sub, b) = (format!("{base}/sub"), format!("{base}/sub/b.txt"));
    let mode = |path: &str| fs::metadata(path).unwrap().mode() & 0o7777;
    let expected = json!([
        entry(".", mode(&base), "ctime", time(&base), "directory"),
        entry("a.txt", 0o4750, "sha256", sha256(&a), "file"),
        entry("sub", mode(&sub), "ctime", time(&sub), "directory"),
        entry("sub/b.txt", mode(&b), "sha256", sha256(&b), "file"),
    ]);
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected);
    let fields =
        ["path", "relative_path", "links", "owner", "group", "mode", "checksum", "type", "destination"];
    let places: Vec<usize> =
        fields.iter().map(|field| text.find(&format!("\"{field}\":")).unwrap()).collect();
    assert!(places.is_sorted(), "{text}");
}

#[test]
fn a_list_begins_with_the_folder_itself_even_where_there_is_nothing_at_all() {
    // Agents fail on an empty list: protocol/README §7 (6).
    for files in [&[][..], &["modules/"], &["environments/production/modules/"], &["modules/demo/manifests/"]]
    {
        let world = World::new(files);
        for mount in ["plugins", "pluginfacts", "locales"] {
            for walk in [Walk::default(), Walk::all()] {
                assert_eq!(world.list(mount, "", &FOLLOW, &walk), ". directory", "{files:?} {mount}");
            }
        }
        let only = &world.tree.metadatas("plugins", "", "production", &manage(), &Walk::all()).unwrap()[0];
        assert_eq!(wire(only)["checksum"]["type"], "ctime");
        assert!(wire(only)["checksum"]["value"].as_str().unwrap().starts_with("{ctime}"), "{only:?}");
        assert!(
            matches!(world.tree.metadata("plugins", "", "production", &manage()), Ok(m) if m.relative_path.is_none())
        );
        assert!(matches!(
            world.tree.metadatas("plugins", "x", "production", &manage(), &Walk::all()),
            Err(Error::NotFound(_))
        ));
        assert!(matches!(
            world.tree.metadatas("modules", "", "production", &manage(), &Walk::all()),
            Err(Error::NotFound(_))
        ));
    }
}

#[test]
fn the_plugins_of_all_modules_are_one_tree() {
    let world = World::new(&[
        "modules/bb/lib/facter/b.rb",
        "modules/bb/lib/shared.rb",
        "modules/aa/lib/facter/a.rb",
        "modules/aa/lib/shared.rb",
        "modules/aa/facts.d/ext.sh",
        "modules/aa/files/not_a_plugin",
        "modules/.git/lib/no.rb",
        "modules/No/lib/no.rb",
    ]);
    let list = "\
        . directory\nfacter directory\nshared.rb file\nfacter/a.rb file\nfacter/b.rb file";
    assert_eq!(world.list("plugins", "", &FOLLOW, &Walk::all()), list);
    assert_eq!(world.list("plugins", "facter", &FOLLOW, &Walk::all()), ". directory\na.rb file\nb.rb file");
    assert_eq!(world.list("plugins", "", &FOLLOW, &Walk::default()), ". directory");
    assert_eq!(world.list("pluginfacts", "", &FOLLOW, &Walk::all()), ". directory\next.sh file");
    assert_eq!(world.content("plugins", "shared.rb", "production").unwrap(), "modules/aa/lib/shared.rb");
    assert_eq!(world.content("plugins", "facter/b.rb", "production").unwrap(), "modules/bb/lib/facter/b.rb");
    let entries = world.tree.metadatas("plugins", "", "production", &FOLLOW, &Walk::all()).unwrap();
    let paths: Vec<&str> = entries.iter().map(|entry| &*entry.path).collect();
    assert_eq!(paths[0], world.path("modules/aa/lib"));
    assert_eq!(paths[4], world.path("modules/bb/lib"), "each entry lies below its own module's folder");
}

#[test]
fn a_file_of_one_module_and_a_folder_of_another_do_not_mix() {
    let world =
        World::new(&["modules/aa/lib/x", "modules/bb/lib/x/y", "modules/aa/lib/z/a", "modules/bb/lib/z"]);
    assert_eq!(
        world.list("plugins", "", &FOLLOW, &Walk::all()),
        ". directory\nx file\nz directory\nz/a file"
    );
}

#[test]
fn a_module_of_the_environment_hides_the_one_that_all_have() {
    let world = World::new(&[
        "modules/demo/files/f",
        "modules/demo/files/only_here",
        "modules/demo/lib/old.rb",
        "modules/other/lib/other.rb",
        "environments/production/modules/demo/files/f",
        "environments/production/modules/demo/lib/new.rb",
    ]);
    let f = "environments/production/modules/demo/files/f";
    assert_eq!(world.content("modules", "demo/f", "production").unwrap(), f);
    assert_eq!(world.content("modules", "demo/f", "dev").unwrap(), "modules/demo/files/f");
    assert!(matches!(world.content("modules", "demo/only_here", "production"), Err(Error::NotFound(_))));
    assert_eq!(world.list("plugins", "", &FOLLOW, &Walk::all()), ". directory\nnew.rb file\nother.rb file");
}

#[test]
fn an_environment_is_a_folder_with_the_name_of_one() {
    let world = World::new(&[
        "environments/dev/modules/",
        "environments/a-b/",
        "environments/file",
        "environments/Test_1/",
    ]);
    assert_eq!(world.tree.environments(), ["Test_1", "dev"]);
    for name in ["", ".", "..", "a-b", "file", "nope", "dev/modules"] {
        assert!(!world.tree.has_environment(name), "{name:?}");
    }
    assert!(World::new(&[]).tree.environments().is_empty());
}

#[test]
fn a_path_never_leaves_its_mount() {
    let world = World::new(&["modules/demo/files/a/f", "modules/demo/secret", "secret"]);
    let bad = [
        "..",
        ".",
        "demo/..",
        "demo/../demo/a/f",
        "demo/./a/f",
        "/demo/a/f",
        "demo//a/f",
        "demo/a/f\0",
        "/etc/passwd",
        "//",
    ];
    for path in bad {
        for mount in ["modules", "plugins", "pluginfacts", "locales"] {
            let failed = [
                world.content(mount, path, "production").map(|_| ()),
                world.tree.metadata(mount, path, "production", &FOLLOW).map(|_| ()),
                world.tree.metadatas(mount, path, "production", &FOLLOW, &Walk::all()).map(|_| ()),
            ];
            for failed in failed {
                assert!(matches!(failed, Err(Error::BadPath(_))), "{mount} {path:?}: {failed:?}");
            }
        }
    }
    for path in ["", "demo", "demo/a", "demo/nope", "demo/a/f/g", "nope/f", "Demo/a/f", ".git/f", "demo/a\\f"]
    {
        assert!(matches!(world.content("modules", path, "production"), Err(Error::NotFound(_))), "{path:?}");
    }
    let long = "x/".repeat(5000) + "x";
    assert!(matches!(
        world.content("modules", &format!("demo/{long}"), "production"),
        Err(Error::NotFound(_))
    ));
    for environment in ["", "..", "../environments/production", "a/b", "a b", "a\0"] {
        assert!(
            matches!(world.content("modules", "demo/a/f", environment), Err(Error::NotFound(_))),
            "{environment:?}"
        );
    }
    for mount in ["", "files", "Modules", "../modules"] {
        assert!(
            matches!(world.content(mount, "demo/a/f", "production"), Err(Error::NotFound(_))),
            "{mount:?}"
        );
    }
    assert!(
        world.content("modules", "demo/a/f/", "production").is_ok(),
        "one slash at the end is no segment"
    );
}

#[test]
fn a_link_never_leads_out_of_its_module() {
    let world =
        World::new(&["modules/demo/files/in", "modules/demo/docs/d", "modules/other/files/o", "outside/s"]);
    world.link("../../../outside/s", "modules/demo/files/file_out");
    world.link("/etc/passwd", "modules/demo/files/absolute_out");
    world.link("../../../outside", "modules/demo/files/folder_out");
    world.link("../../other/files/o", "modules/demo/files/other");
    world.link("../docs", "modules/demo/files/folder_in");
    world.link("in", "modules/demo/files/file_in");
    world.link("nowhere", "modules/demo/files/dangling");
    world.link("loop", "modules/demo/files/loop");
    let followed = ". directory\nfile_in file\nfolder_in directory\nin file\nfolder_in/d file";
    assert_eq!(world.list("modules", "demo", &FOLLOW, &Walk::all()), followed);
    let links = ". directory\nabsolute_out link\ndangling link\nfile_in link\nfile_out link\nfolder_in link\n\
        folder_out link\nin file\nloop link\nother link";
    assert_eq!(world.list("modules", "demo", &manage(), &Walk::all()), links);
    let serves = |path: &str| world.content("modules", path, "production").is_ok();
    for path in ["demo/file_in", "demo/folder_in/d"] {
        assert!(serves(path), "{path}");
    }
    for path in ["file_out", "absolute_out", "folder_out/s", "other", "dangling", "loop", "folder_in/../in"] {
        let path = format!("demo/{path}");
        assert!(!serves(&path), "{path}");
        assert!(world.tree.metadata("modules", &path, "production", &FOLLOW).is_err(), "{path}");
    }
    // Not through a folder that is a link either, though the link itself may be told of.
    assert!(world.tree.metadata("modules", "demo/folder_out/s", "production", &manage()).is_err());
}

#[test]
fn a_link_that_is_managed_is_told_as_one() {
    let world = World::new(&["modules/demo/files/in", "secret"]);
    world.link("in", "modules/demo/files/here");
    world.link("../../../secret", "modules/demo/files/out");
    let told = |path: &str| wire(world.tree.metadata("modules", path, "production", &manage()).unwrap());
    let here = told("demo/here");
    assert_eq!((&here["type"], &here["destination"]), (&json!("link"), &json!("in")));
    assert_eq!(
        here["checksum"],
        json!({"type": "sha256", "value": sha256(&world.path("modules/demo/files/in"))})
    );
    assert_eq!(here["path"], world.path("modules/demo/files/here"));
    let out = told("demo/out");
    assert_eq!(out["checksum"], json!({"type": "sha256", "value": null}), "nothing of what lies outside");
    let followed = world.tree.metadata("modules", "demo/here", "production", &FOLLOW).unwrap();
    assert_eq!(wire(followed)["type"], "file");
}

#[test]
fn a_module_or_its_lib_may_be_a_link_as_long_as_lib_stays_in_the_module() {
    let world =
        World::new(&["elsewhere/demo/lib/a.rb", "elsewhere/shared_lib/no.rb", "modules/bad/manifests/"]);
    world.link("../elsewhere/demo", "modules/demo");
    world.link("../../elsewhere/shared_lib", "modules/bad/lib");
    assert_eq!(world.list("plugins", "", &FOLLOW, &Walk::all()), ". directory\na.rb file");
    assert!(world.content("plugins", "a.rb", "production").is_ok());
    assert!(world.content("plugins", "no.rb", "production").is_err());
}

#[test]
fn links_in_a_circle_end() {
    let world = World::new(&["modules/demo/files/a/f", "modules/demo/files/b/g"]);
    world.link("../b", "modules/demo/files/a/to_b");
    world.link("../a", "modules/demo/files/b/to_a");
    world.link(".", "modules/demo/files/self");
    let list = world.list("modules", "demo", &FOLLOW, &Walk::all());
    assert!(list.contains("a/to_b/g file") && list.lines().count() < 40, "{list}");
}

#[test]
fn what_is_no_regular_file_is_not_there() {
    let world = World::new(&["modules/demo/files/f"]);
    let at = |name: &str| world.state.path().join("modules/demo/files").join(name);
    let _socket = UnixListener::bind(at("socket")).unwrap();
    assert!(Command::new("mkfifo").arg(at("fifo")).status().unwrap().success());
    assert_eq!(world.list("modules", "demo", &FOLLOW, &Walk::all()), ". directory\nf file");
    for name in ["demo/fifo", "demo/socket"] {
        assert!(matches!(world.content("modules", name, "production"), Err(Error::NotFound(_))), "{name}");
        assert!(
            matches!(world.tree.metadata("modules", name, "production", &manage()), Err(Error::NotFound(_))),
            "{name}"
        );
    }
}

#[test]
fn names_to_ignore_are_shell_patterns() {
    let world = World::new(&[
        "modules/demo/files/.git/config",
        "modules/demo/files/.svn/x",
        "modules/demo/files/sub/CVS/x",
        "modules/demo/files/sub/keep.txt",
        "modules/demo/files/.hidden.bak",
        "modules/demo/files/a.bak",
        "modules/demo/files/b1",
    ]);
    let check = |ignore: &[&str], expected: &str| {
        let ignore = ignore.iter().map(|pattern| pattern.to_string()).collect();
        let list = world.list("modules", "demo", &FOLLOW, &Walk { ignore, ..Walk::all() });
        assert_eq!(list.replace(" directory", "/").replace(" file", "").replace('\n', " "), expected);
    };
    // As agents ask for plugins.
    check(&[".svn", "CVS", ".git", ".hg"], "./ .hidden.bak a.bak b1 sub/ sub/keep.txt");
    check(&["*.bak", ".[gs]*", "CVS"], "./ .hidden.bak b1 sub/ sub/keep.txt");
    check(&["sub", "b?", "*"], "./ .git/ .hidden.bak .svn/");
    let broken = Walk { ignore: vec!["[".into()], ..Walk::all() };
    let error = world.tree.metadatas("modules", "demo", "production", &FOLLOW, &broken).unwrap_err();
    assert!(matches!(error, Error::BadPattern { .. }), "{error}");
}

#[test]
fn a_list_goes_as_deep_and_as_far_as_it_is_asked_to() {
    let world = World::new(&["modules/demo/files/a/b/c", "modules/demo/files/d"]);
    let list = |walk: &Walk| world.list("modules", "demo", &FOLLOW, walk).replace('\n', " ");
    assert_eq!(list(&Walk { depth: Some(1), ..Walk::all() }), ". directory a directory d file");
    assert_eq!(list(&Walk { depth: Some(2), ..Walk::all() }), ". directory a directory d file a/b directory");
    assert_eq!(list(&Walk { depth: Some(0), ..Walk::all() }), ". directory");
    assert_eq!(list(&Walk { max_files: Some(4), ..Walk::all() }).matches("file").count(), 2);
    assert_eq!(
        list(&Walk { max_files: Some(3), ..Walk::all() }),
        "modules/demo has more than 3 entries; raise max_files, or serve fewer files"
    );
    assert_eq!(world.list("modules", "demo/d", &FOLLOW, &Walk::all()), ". file");
}

#[test]
fn a_file_that_cannot_be_read_is_an_error_and_not_absent() {
    // A plugin that is silently left out would be removed from every agent.
    let world = World::new(&["modules/demo/lib/a.rb"]);
    let path = world.state.path().join("modules/demo/lib/a.rb");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::File::open(&path).is_ok() {
        // Root reads everything; a user without that power shows it.
        return as_nobody(&world);
    }
    let error = world.tree.metadatas("plugins", "", "production", &FOLLOW, &Walk::all()).unwrap_err();
    assert!(matches!(error, Error::Unreadable { .. }), "{error}");
}

/// Runs the test above as a user that owns nothing.
fn as_nobody(world: &World) {
    let exe = std::env::current_exe().unwrap();
    let copy = world.state.path().join("test");
    fs::copy(exe, &copy).unwrap();
    for open in [world.state.path(), Path::new(&copy)] {
        fs::set_permissions(open, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let status = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&copy)
        .args(["--exact", "a_file_that_cannot_be_read_is_an_error_and_not_absent"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&status.stdout);
    assert!(status.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
fn other_checksums_are_written_as_puppet_writes_them() {
    let world = World::new(&["modules/demo/files/f"]);
    let sum = |checksum| {
        let options = Options { checksum, ..manage() };
        wire(world.tree.metadata("modules", "demo/f", "production", &options).unwrap())["checksum"].clone()
    };
    assert_eq!(sum(ChecksumType::None), json!({"type": "none", "value": "{none}"}));
    let stat = fs::metadata(world.path("modules/demo/files/f")).unwrap();
    for (checksum, name) in [(ChecksumType::Mtime, "mtime"), (ChecksumType::Ctime, "ctime")] {
        let value = sum(checksum);
        assert_eq!(value["type"], name);
        assert!(
            value["value"].as_str().unwrap().starts_with(&format!("{{{name}}}20")),
            "{value} {}",
            stat.mtime()
        );
    }
    assert!(sum(ChecksumType::Md5)["value"].as_str().unwrap().starts_with("{md5}"));
}
