//! Lists of files, folder by folder.

use std::{collections::HashMap, fs, path::PathBuf};

use glob::{MatchOptions, Pattern};

use crate::{
    Error,
    metadata::{FileType, Metadata, Options},
    tree::{Root, Tree, is_absence},
};

/// How many entries an answer has at most, whatever the agent asks for.
const ENTRIES: usize = 100_000;

/// How far a list goes.
#[derive(Debug, Clone, Default)]
pub struct Walk {
    /// Whether folders are entered at all; without, a list is the one entry `.`.
    pub recurse: bool,
    /// How many levels of folders are entered, the first being 1; all of them where none.
    pub depth: Option<u32>,
    /// More entries than this are an error; as many as the server lists where none.
    pub max_files: Option<usize>,
    /// Names of files and folders to pass over, as shell patterns. `*` and `?` do not match a dot at the
    /// beginning of a name.
    pub ignore: Vec<String>,
}

impl Walk {
    /// Every file and folder below a path.
    pub fn all() -> Self {
        Self { recurse: true, ..Self::default() }
    }

    /// Lists `rest` in each of the roots as one tree: folders before what is in them, each level sorted by
    /// module and name; of several files at one path, that of the first root counts. Nothing where no root
    /// has the path.
    pub(crate) fn entries(
        &self,
        tree: &Tree,
        roots: &[Root],
        rest: &str,
        options: &Options,
        what: &str,
    ) -> Result<Vec<Metadata>, Error> {
        let ignore = self.patterns()?;
        let limit = self.max_files.unwrap_or(ENTRIES).min(ENTRIES);
        let mut entries: Vec<Metadata> = Vec::new();
        let mut seen: HashMap<String, FileType> = HashMap::new();
        for root in roots {
            let Some(top) = tree.at(root, rest, options)? else { continue };
            let (base, top_type) = (top.path.clone(), top.file_type);
            if entries.is_empty() {
                entries.push(Metadata { relative_path: Some(".".into()), ..top });
            }
            if top_type != FileType::Directory || !self.recurse {
                continue;
            }
            let mut open = vec![Folder { relative: String::new(), above: Vec::new() }];
            let mut depth = 1;
            while !open.is_empty() && self.depth.is_none_or(|limit| depth <= limit) {
                let mut deeper = Vec::new();
                for folder in open {
                    for (relative, above) in folder.children(root, rest, &ignore)? {
                        let Some(entry) = tree.at(root, &join(rest, &relative), options)? else { continue };
                        let known = seen.get(&relative).copied();
                        if entry.file_type == FileType::Directory
                            && known.is_none_or(|known| known == FileType::Directory)
                        {
                            deeper.push(Folder { relative: relative.clone(), above });
                        }
                        if known.is_none() {
                            if entries.len() > limit {
                                return Err(Error::TooMany { what: what.into(), limit });
                            }
                            seen.insert(relative.clone(), entry.file_type);
                            entries.push(Metadata {
                                path: base.clone(),
                                relative_path: Some(relative),
                                ..entry
                            });
                        }
                    }
                }
                (open, depth) = (deeper, depth + 1);
            }
        }
        Ok(entries)
    }

    fn patterns(&self) -> Result<Vec<Pattern>, Error> {
        let compile = |pattern: &String| {
            let wrong = |why: glob::PatternError| Error::BadPattern {
                pattern: pattern.clone(),
                why: why.to_string(),
            };
            Pattern::new(pattern).map_err(wrong)
        };
        self.ignore.iter().map(compile).collect()
    }
}

/// A folder that is still to be read.
struct Folder {
    /// Below the path that is listed; empty for that itself.
    relative: String,
    /// The real folders that were entered on the way, so that links in a circle end.
    above: Vec<PathBuf>,
}

impl Folder {
    /// The names in it, sorted, each with the folders above what it names.
    fn children(
        &self,
        root: &Root,
        rest: &str,
        ignore: &[Pattern],
    ) -> Result<Vec<(String, Vec<PathBuf>)>, Error> {
        let Some((real, _)) = root.follow(&join(rest, &self.relative))? else { return Ok(Vec::new()) };
        if self.above.contains(&real) {
            return Ok(Vec::new());
        }
        let unreadable = |source| Error::Unreadable { path: real.clone(), source };
        let listing = match fs::read_dir(&real) {
            Ok(listing) => listing,
            Err(error) if is_absence(&error) => return Ok(Vec::new()),
            Err(error) => return Err(unreadable(error)),
        };
        let mut names = Vec::new();
        for entry in listing {
            match entry.map_err(unreadable)?.file_name().into_string() {
                Ok(name) if ignore.iter().any(|pattern| pattern.matches_with(&name, SHELL)) => {}
                Ok(name) => names.push(name),
                Err(name) => {
                    tracing::warn!(folder = %real.display(), ?name, "file passed over: its name is not UTF-8")
                }
            }
        }
        names.sort();
        let mut above = self.above.clone();
        above.push(real);
        Ok(names.into_iter().map(|name| (join(&self.relative, &name), above.clone())).collect())
    }
}

/// As Ruby's `File.fnmatch?` without flags.
const SHELL: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: false,
    require_literal_leading_dot: true,
};

fn join(folder: &str, name: &str) -> String {
    match (folder.is_empty(), name.is_empty()) {
        (true, _) => name.into(),
        (_, true) => folder.into(),
        _ => format!("{folder}/{name}"),
    }
}
