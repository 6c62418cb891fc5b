//! `Walk`: everything that lies in a source, entries and strangers alike.
//!
//! Knows what every name in the tree means, and forgets each directory once it is listed: memory is bounded
//! by the widest directory, not by the tree. Does not read files, and does not know what is wrong with what
//! it finds.

use std::collections::VecDeque;

use storage_layout::Dir;
use storage_layout::Entry;
use storage_layout::RepositoryName;

use crate::store::Error;
use crate::store::ItemKind;
use crate::store::Source;

/// Something that a walk came by.
#[derive(Debug)]
pub enum Sight {
    /// A file that belongs here.
    Entry(Entry),
    /// A repository: a directory that holds `_manifests`, `_layers` or `_uploads`.
    Repository(RepositoryName),
    /// A file or directory that is not distribution's, with its path below the root. What is in a strange
    /// directory is not looked at.
    Stranger(String),
    /// A directory that cannot be listed.
    Unlisted(Error),
}

/// A walk through a source, directories in byte order. Waits for the medium.
#[derive(Debug)]
pub struct Walk<'a> {
    source: &'a dyn Source,
    scope: Scope,
    pending: Vec<Dir>,
    sights: VecDeque<Sight>,
}

/// What is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// Every directory below.
    All,
    /// Directories of repositories, but not what the repositories hold.
    Names,
}

impl<'a> Walk<'a> {
    /// All blobs, each a [`Sight::Entry`].
    pub fn blobs(source: &'a dyn Source) -> Self {
        Self::new(source, Scope::All, [Dir::AllBlobs])
    }

    /// All repositories, each a [`Sight::Repository`], and the strangers among them and beside them.
    pub fn repositories(source: &'a dyn Source) -> Self {
        Self::new(source, Scope::Names, [Dir::Root])
    }

    /// What one repository holds, without the repositories whose names begin with its own.
    pub fn repository(source: &'a dyn Source, name: &RepositoryName) -> Self {
        let name = || name.clone();
        Self::new(source, Scope::All, [Dir::Uploads(name()), Dir::Manifests(name()), Dir::AllLayers(name())])
    }

    fn new(source: &'a dyn Source, scope: Scope, top: impl Into<Vec<Dir>>) -> Self {
        Self { source, scope, pending: top.into(), sights: VecDeque::new() }
    }

    fn enter(&mut self, dir: &Dir) {
        let path = dir.path();
        let mut items = match self.source.list(&path) {
            Ok(items) => items.unwrap_or_default(),
            Err(error) => return self.sights.push_back(Sight::Unlisted(error)),
        };
        items.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        let mut below = Vec::new();
        let mut is_repository = false;
        for item in items {
            let path = format!("{path}/{}", item.name);
            let entry = Some(&path).filter(|_| item.kind == ItemKind::File).and_then(|it| Entry::parse(it));
            let dir = Some(&path).filter(|_| item.kind == ItemKind::Directory).and_then(|it| Dir::parse(it));
            match (entry, dir) {
                (Some(entry), _) => self.sights.push_back(Sight::Entry(entry)),
                (None, Some(dir)) => {
                    is_repository |= matches!(dir, Dir::Manifests(_) | Dir::AllLayers(_) | Dir::Uploads(_));
                    below.extend(self.scope.enters(&dir).then_some(dir));
                }
                (None, None) => self.sights.push_back(Sight::Stranger(path)),
            }
        }
        if let (Dir::Repository(name), true) = (dir, is_repository) {
            self.sights.push_back(Sight::Repository(name.clone()));
        }
        self.pending.extend(below.into_iter().rev());
    }
}

impl Scope {
    fn enters(self, dir: &Dir) -> bool {
        self == Self::All || matches!(dir, Dir::Root | Dir::Repositories | Dir::Repository(_))
    }
}

impl Iterator for Walk<'_> {
    type Item = Sight;

    fn next(&mut self) -> Option<Sight> {
        while self.sights.is_empty() {
            let dir = self.pending.pop()?;
            self.enter(&dir);
        }
        self.sights.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io;
    use std::path::Path;
    use std::sync::Arc;
    use std::task::Poll;

    use storage_layout::RelativePath;

    use super::*;
    use crate::store::Found;
    use crate::store::Item;
    use crate::store::Medium;
    use crate::store::Version;
    use crate::store::Wait;

    /// The names that distribution 2.8.2 gave a release payload.
    const PAYLOAD: &str = include_str!("../../storage-layout/tests/payload-store.txt");

    /// A source of names without content. Directories end in a slash.
    #[derive(Debug)]
    struct Names {
        dirs: BTreeMap<String, Vec<Item>>,
        broken: String,
    }

    impl Names {
        fn new(paths: &[&str], broken: &str) -> Self {
            let mut dirs = BTreeMap::<String, Vec<Item>>::new();
            for path in paths {
                let kind = if path.ends_with('/') { ItemKind::Directory } else { ItemKind::File };
                let (parent, name) = path.trim_end_matches('/').rsplit_once('/').unwrap();
                dirs.entry(parent.to_owned()).or_default().push(Item { name: name.into(), kind });
            }
            Self { dirs, broken: broken.to_owned() }
        }
    }

    impl Source for Names {
        fn origin(&self) -> &Path {
            Path::new("/names")
        }

        fn medium(&self) -> &Arc<Medium> {
            unimplemented!("a walk reads no file")
        }

        fn open(&self, _: &RelativePath, _: Wait) -> Poll<Result<Option<Found>, Error>> {
            unimplemented!("a walk opens no file")
        }

        fn version(&self, _: &RelativePath, _: Wait) -> Poll<Result<Option<Version>, Error>> {
            unimplemented!("a walk looks at no file")
        }

        fn list(&self, path: &RelativePath) -> Result<Option<Vec<Item>>, Error> {
            if path.as_str() == self.broken {
                let (doing, path) = ("list", path.to_string());
                return Err(Error::Io { doing, path, source: io::ErrorKind::Other.into() });
            }
            Ok(self.dirs.get(path.as_str()).cloned())
        }

        fn check(&self) -> Result<(), Error> {
            Ok(())
        }
    }

    fn entries(walk: Walk<'_>) -> Vec<String> {
        walk.map(|sight| match sight {
            Sight::Entry(entry) => entry.path().to_string(),
            other => panic!("{other:?}"),
        })
        .collect()
    }

    #[test]
    fn every_file_is_come_by_once() {
        let paths: Vec<_> = PAYLOAD.lines().collect();
        let source = Names::new(&paths, "");
        let mut seen = entries(Walk::blobs(&source));
        for sight in Walk::repositories(&source) {
            let Sight::Repository(name) = sight else { panic!("{sight:?}") };
            seen.extend(entries(Walk::repository(&source, &name)));
        }
        seen.sort_unstable();
        let files: Vec<_> = paths.into_iter().filter(|it| !it.ends_with('/')).collect();
        assert_eq!(seen, files);
    }

    #[test]
    fn strangers_and_what_cannot_be_listed_are_told() {
        let repositories = "docker/registry/v2/repositories";
        let paths = [
            "docker/registry/v2/repositories/",
            "docker/registry/v2/tmp/",
            "docker/registry/v2/repositories/stray.txt",
            "docker/registry/v2/repositories/lost+found/",
            "docker/registry/v2/repositories/a/",
            "docker/registry/v2/repositories/a/_manifests/",
            "docker/registry/v2/repositories/a/_manifests/tags/",
            "docker/registry/v2/repositories/a/b/",
            "docker/registry/v2/repositories/a/b/_uploads/",
            "docker/registry/v2/repositories/broken/",
        ];
        let source = Names::new(&paths, &format!("{repositories}/broken"));
        let told: Vec<_> = Walk::repositories(&source).map(|it| format!("{it:?}")).collect();
        let expected = [
            "Stranger(\"docker/registry/v2/tmp\")".to_owned(),
            format!("Stranger(\"{repositories}/lost+found\")"),
            format!("Stranger(\"{repositories}/stray.txt\")"),
            "Repository(a)".to_owned(),
            "Repository(a/b)".to_owned(),
        ];
        assert_eq!(told.iter().take(5).collect::<Vec<_>>(), expected.iter().collect::<Vec<_>>());
        assert!(told.last().is_some_and(|it| it.starts_with("Unlisted(")) && told.len() == 6, "{told:?}");
    }
}
