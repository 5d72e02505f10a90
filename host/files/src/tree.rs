//! Mounts, environments and modules: which file of which module a path means.

use std::{
    collections::BTreeSet,
    fmt, fs, io,
    path::{Path, PathBuf},
};

use crate::{
    Error,
    checksum::Digests,
    metadata::{self, Found, Links, Metadata, Options, Server},
    walk::Walk,
};

/// Where modules are.
#[derive(Debug, Clone)]
pub struct Settings {
    /// A folder of modules that every environment has.
    pub modules: PathBuf,
    /// A folder of environments: `<environment>/modules` holds more modules, which hide those that all have.
    pub environments: PathBuf,
}

/// The files of all modules. Cheap to share; looks at the disk for every answer.
pub struct Tree {
    settings: Settings,
    server: Server,
    digests: Digests,
}

/// A file's contents.
#[derive(Debug)]
pub struct Content {
    /// Open for reading, at its start; a regular file.
    pub file: fs::File,
    /// How long it was when it was opened, in bytes.
    pub length: u64,
}

/// A folder of one module that files are served from.
#[derive(Debug, Clone)]
pub struct Root {
    /// The module's folder, without symbolic links: nothing outside it is served.
    pub module: PathBuf,
    /// `lib`, `facts.d` or `files` in it.
    pub folder: PathBuf,
}

impl Tree {
    /// The folders need not be there yet.
    pub fn new(settings: Settings) -> Self {
        Self { settings, server: Server::current(), digests: Digests::default() }
    }

    /// Whether an environment has a folder. `name` is checked, so that it names nothing else.
    pub fn has_environment(&self, name: &str) -> bool {
        is_environment(name) && self.settings.environments.join(name).is_dir()
    }

    /// Environments that have a folder, sorted. Empty where the folder of folders can't be read.
    pub fn environments(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.settings.environments).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .filter_map(|e| e.file_name().into_string().ok())
            .filter(|n| self.has_environment(n))
            .collect();
        names.sort();
        names
    }

    /// What is at a path of a mount. `path` is decoded, and for `modules` begins with the module's name.
    pub fn metadata(
        &self,
        mount: &str,
        path: &str,
        environment: &str,
        options: &Options,
    ) -> Result<Metadata, Error> {
        let (roots, rest) = self.roots(mount, path, environment)?;
        for root in &roots {
            if let Some(metadata) = self.at(root, rest, options)? {
                return Ok(metadata);
            }
        }
        match rest.is_empty() && mount != "modules" {
            true => Ok(self.empty_mount(environment, options)),
            false => Err(not_found(mount, path)),
        }
    }

    /// What is at a path of a mount and below it. The first entry is `.`, the path itself, also where no
    /// module has anything to serve: agents fail on an empty list.
    pub fn metadatas(
        &self,
        mount: &str,
        path: &str,
        environment: &str,
        options: &Options,
        walk: &Walk,
    ) -> Result<Vec<Metadata>, Error> {
        let (roots, rest) = self.roots(mount, path, environment)?;
        let mut entries = walk.entries(self, &roots, rest, options, &shown(mount, path))?;
        if entries.is_empty() {
            if !rest.is_empty() || mount == "modules" {
                return Err(not_found(mount, path));
            }
            let only = self.empty_mount(environment, options);
            entries.push(Metadata { relative_path: Some(".".into()), ..only });
        }
        Ok(entries)
    }

    /// Opens the regular file at a path of a mount.
    pub fn content(&self, mount: &str, path: &str, environment: &str) -> Result<Content, Error> {
        let (roots, rest) = self.roots(mount, path, environment)?;
        for root in &roots {
            let Some((path, stat)) = root.follow(rest)? else { continue };
            if !stat.is_file() {
                break;
            }
            let unreadable = |source| Error::Unreadable { path: path.clone(), source };
            let file = fs::File::open(&path).map_err(unreadable)?;
            let stat = file.metadata().map_err(unreadable)?;
            if !stat.is_file() {
                break;
            }
            return Ok(Content { file, length: stat.len() });
        }
        Err(not_found(mount, path))
    }

    /// The metadata of one file of one module; none where it is not there or not to be served.
    pub(crate) fn at(&self, root: &Root, rest: &str, options: &Options) -> Result<Option<Metadata>, Error> {
        let found = match options.links {
            Links::Follow => root.follow(rest)?,
            Links::Manage => root.manage(rest)?,
        };
        let Some((path, stat)) = found else { return Ok(None) };
        let target = match stat.is_symlink() {
            true => root.follow(rest)?.filter(|(_, stat)| stat.is_file()),
            false => None,
        };
        let target = target.as_ref().map(|(path, stat)| (path.as_path(), stat.clone()));
        let described = metadata::describe(
            &Found { path: &path, stat: &stat, target },
            options,
            self.server,
            &self.digests,
        );
        match described {
            Ok(metadata) => {
                Ok(metadata.map(|metadata| Metadata { path: text(&root.path(rest)), ..metadata }))
            }
            Err(source) => absent(&path, source),
        }
    }

    /// The module folders in which a path of a mount may lie, and the path in them.
    fn roots<'a>(
        &self,
        mount: &str,
        path: &'a str,
        environment: &str,
    ) -> Result<(Vec<Root>, &'a str), Error> {
        let path = path.strip_suffix('/').unwrap_or(path);
        let bad = |segment: &str| matches!(segment, "" | "." | "..") || segment.contains('\0');
        if !path.is_empty() && path.split('/').any(bad) {
            return Err(Error::BadPath(path.into()));
        }
        if !is_environment(environment) {
            return Err(Error::NotFound(format!("environment {environment:?}")));
        }
        match mount {
            "plugins" => Ok((self.merged(environment, "lib")?, path)),
            "pluginfacts" => Ok((self.merged(environment, "facts.d")?, path)),
            // Translations of modules: the hosts that we serve have none.
            "locales" => Ok((Vec::new(), path)),
            "modules" => {
                let (module, rest) = path.split_once('/').unwrap_or((path, ""));
                let folders = self.module_folders(environment);
                let module = Some(module).filter(|name| is_module(name));
                let found =
                    module.and_then(|name| folders.iter().find_map(|folder| root(folder, name, "files")));
                Ok((found.into_iter().collect(), rest))
            }
            _ => Err(not_found(mount, path)),
        }
    }

    fn module_folders(&self, environment: &str) -> [PathBuf; 2] {
        let Settings { modules, environments } = &self.settings;
        [environments.join(environment).join("modules"), modules.clone()]
    }

    /// One folder of every module, modules in the order of their names, those of the environment first.
    fn merged(&self, environment: &str, folder: &str) -> Result<Vec<Root>, Error> {
        let (mut roots, mut seen) = (Vec::new(), BTreeSet::new());
        for modules in self.module_folders(environment) {
            let unreadable = |source| Error::Unreadable { path: modules.clone(), source };
            let entries = match fs::read_dir(&modules) {
                Ok(entries) => entries,
                Err(error) if is_absence(&error) => continue,
                Err(error) => return Err(unreadable(error)),
            };
            let mut names = Vec::new();
            for entry in entries {
                names.extend(
                    entry.map_err(unreadable)?.file_name().into_string().ok().filter(|name| is_module(name)),
                );
            }
            names.sort();
            for name in names {
                if modules.join(&name).is_dir() && seen.insert(name.clone()) {
                    let root = root(&modules, &name, folder);
                    roots.extend(root.filter(|root| root.folder.is_dir()));
                }
            }
        }
        Ok(roots)
    }

    /// A mount to which no module has anything.
    fn empty_mount(&self, environment: &str, options: &Options) -> Metadata {
        let folders = self.module_folders(environment);
        for folder in &folders {
            if let Ok(stat) = fs::metadata(folder)
                && let found = (Found { path: folder, stat: &stat, target: None })
                && let Ok(Some(metadata)) = metadata::describe(&found, options, self.server, &self.digests)
            {
                return metadata;
            }
        }
        let [_, modules] = folders;
        metadata::no_folder(&modules, options, self.server)
    }
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}

impl Root {
    /// A path as agents are told it.
    pub fn path(&self, rest: &str) -> PathBuf {
        match rest.is_empty() {
            true => self.folder.clone(),
            false => self.folder.join(rest),
        }
    }

    /// What a path leads to, all links followed, if that lies in the module.
    pub fn follow(&self, rest: &str) -> Result<Option<(PathBuf, fs::Metadata)>, Error> {
        let path = self.path(rest);
        match fs::canonicalize(&path) {
            Ok(real) if real.starts_with(&self.module) => match fs::symlink_metadata(&real) {
                Ok(stat) => Ok(Some((real, stat))),
                Err(source) => absent(&real, source),
            },
            Ok(_) => Ok(None),
            Err(source) => absent(&path, source),
        }
    }

    /// What is at a path, which may be a link, if its folder lies in the module.
    fn manage(&self, rest: &str) -> Result<Option<(PathBuf, fs::Metadata)>, Error> {
        let (folder, name) = match rest.rsplit_once('/') {
            Some((folder, name)) => (folder, name),
            // The served folder itself is never a link to the agent.
            None if rest.is_empty() => return self.follow(rest),
            None => ("", rest),
        };
        let Some((folder, _)) = self.follow(folder)? else { return Ok(None) };
        let path = folder.join(name);
        match fs::symlink_metadata(&path) {
            Ok(stat) => Ok(Some((path, stat))),
            Err(source) => absent(&path, source),
        }
    }
}

fn root(modules: &Path, name: &str, folder: &str) -> Option<Root> {
    let module = fs::canonicalize(modules.join(name)).ok().filter(|module| module.is_dir())?;
    let folder = module.join(folder);
    Some(Root { module, folder })
}

/// What Puppet takes for a module's name; other folders, such as `.git`, are passed over.
fn is_module(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

fn not_found(mount: &str, path: &str) -> Error {
    Error::NotFound(shown(mount, path))
}

fn shown(mount: &str, path: &str) -> String {
    match path.is_empty() {
        true => mount.into(),
        false => format!("{mount}/{path}"),
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Nothing where the path leads nowhere; an error where the system keeps us from seeing what is there.
fn absent<T>(path: &Path, source: io::Error) -> Result<Option<T>, Error> {
    match is_absence(&source) {
        true => Ok(None),
        false => Err(Error::Unreadable { path: path.into(), source }),
    }
}

/// Whether a name can be an environment's.
pub fn is_environment(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Whether an error says that the path leads nowhere: it is absent, runs through a file or in a circle, or
/// has a name that no file can have.
pub fn is_absence(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    /// `ELOOP`, which the standard library has no stable name for.
    const TOO_MANY_LINKS: i32 = 40;
    matches!(error.kind(), NotFound | NotADirectory | InvalidFilename | InvalidInput)
        || error.raw_os_error() == Some(TOO_MANY_LINKS)
}
