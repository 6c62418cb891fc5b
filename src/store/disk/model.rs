//! A model of what a power cut leaves of a directory.
//!
//! Assumes of a file system no more than POSIX promises: a sync of a file makes
//! its content last, a sync of a directory makes the names in it last, and
//! whatever was not synced may last or not, each effect for itself and in any
//! order. A rename is two effects. Content that was not synced may be missing,
//! cut, or zeros. (What ALICE calls the "default" persistence model: Pillai et
//! al., "All File Systems Are Not Created Equal", OSDI 2014.)

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::hash::DefaultHasher;
use std::hash::Hash;
use std::hash::Hasher;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::store::disk::DiskPath;
use crate::store::disk::recorder::Operation;

type Node = usize;

/// The root directory's.
const ROOT: Node = 0;

/// One effect of an operation.
#[derive(Clone, Debug)]
enum Effect {
    /// A name in a directory means something, or nothing any more.
    Name(Node, String, Option<Node>),
    Write(Node, u64, Vec<u8>),
    Truncate(Node, u64),
}

/// How much of a content that was not synced is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::store) enum Torn {
    Whole,
    Missing,
    Half,
    Zeros,
}

impl Torn {
    const DAMAGED: [Self; 3] = [Self::Missing, Self::Half, Self::Zeros];
}

/// A directory, as far as operations have come.
#[derive(Clone, Debug, Default)]
pub(in crate::store) struct Model {
    effects: Vec<Effect>,
    /// Those that a power cut does not take.
    durable: BTreeSet<usize>,
    /// What the names mean now.
    names: BTreeMap<(Node, String), Node>,
    files: BTreeMap<u64, Node>,
    dirs: BTreeSet<Node>,
    nodes: usize,
}

/// Which of the effects that are not durable are there after a power cut, and how much of each.
pub(in crate::store) type Left = BTreeMap<usize, Torn>;

impl Model {
    /// A directory in which everything is durable.
    pub(in crate::store) fn of(root: &Path) -> Self {
        let mut model = Self { nodes: 1, dirs: BTreeSet::from([ROOT]), ..Self::default() };
        model.read(root, &DiskPath::root());
        model.durable = (0..model.effects.len()).collect();
        model
    }

    fn read(&mut self, root: &Path, at: &DiskPath) {
        for entry in root.join(at.as_str()).read_dir().unwrap() {
            let entry = entry.unwrap();
            let path = at.join(entry.file_name().to_str().unwrap());
            if entry.file_type().unwrap().is_dir() {
                self.apply(&Operation::MakeDir(path.clone()));
                self.read(root, &path);
            } else {
                let inode = entry.metadata().unwrap().ino();
                self.apply(&Operation::Create(path, inode));
                self.apply(&Operation::Write(inode, 0, std::fs::read(entry.path()).unwrap()));
            }
        }
    }

    pub(in crate::store) fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::Create(path, inode) => {
                let node = self.new_node();
                self.files.insert(*inode, node);
                self.set(path, Some(node));
            }
            Operation::MakeDir(path) => {
                let node = self.new_node();
                self.dirs.insert(node);
                self.set(path, Some(node));
            }
            Operation::Write(inode, offset, data) => {
                self.effects.push(Effect::Write(self.files[inode], *offset, data.clone()));
            }
            Operation::Truncate(inode, len) => self.effects.push(Effect::Truncate(self.files[inode], *len)),
            Operation::Rename(from, to) => {
                let node = self.node(from);
                self.set(to, Some(node));
                self.set(from, None);
            }
            Operation::RemoveFile(path) | Operation::RemoveDir(path) => self.set(path, None),
            Operation::SyncFile(inode) => {
                let node = self.files[inode];
                self.keep(|effect| match effect {
                    Effect::Write(file, ..) | Effect::Truncate(file, _) => *file == node,
                    Effect::Name(..) => false,
                });
            }
            Operation::SyncDir(path) => {
                let node = self.node(path);
                self.keep(|effect| matches!(effect, Effect::Name(dir, ..) if *dir == node));
            }
            Operation::SyncAll => self.keep(|_| true),
            Operation::Mark(_) => {}
        }
    }

    fn new_node(&mut self) -> Node {
        self.nodes += 1;
        self.nodes - 1
    }

    fn node(&self, path: &DiskPath) -> Node {
        let names = path.as_str().split('/').filter(|name| !name.is_empty());
        names.fold(ROOT, |node, name| self.names[&(node, name.to_owned())])
    }

    fn set(&mut self, path: &DiskPath, node: Option<Node>) {
        let name = (self.node(&path.parent().unwrap()), path.file_name().to_owned());
        self.effects.push(Effect::Name(name.0, name.1.clone(), node));
        match node {
            Some(node) => self.names.insert(name, node),
            None => self.names.remove(&name),
        };
    }

    fn keep(&mut self, is_kept: impl Fn(&Effect) -> bool) {
        let kept = self.effects.iter().enumerate().filter(|(_, effect)| is_kept(effect)).map(|(at, _)| at);
        self.durable.extend(kept);
    }

    /// The states to look at: nothing but what is durable, everything, all but one effect, one alone, and a
    /// few at random.
    pub(in crate::store) fn crashes(&self, random: &mut impl FnMut(usize) -> usize) -> Vec<Left> {
        let pending: Vec<usize> = (0..self.effects.len()).filter(|at| !self.durable.contains(at)).collect();
        let all: Left = pending.iter().map(|at| (*at, Torn::Whole)).collect();
        let mut crashes = vec![Left::new(), all.clone()];
        for at in &pending {
            for torn in self.ways(*at).iter().copied() {
                let mut but_one = all.clone();
                but_one.insert(*at, torn);
                crashes.extend([but_one, Left::from([(*at, torn)])]);
            }
            crashes.push(Left::from([(*at, Torn::Whole)]));
        }
        for _ in 0..pending.len().min(4) {
            let some = pending.iter().filter_map(|at| {
                let ways = self.ways(*at);
                let torn = [&[Torn::Whole], ways].concat();
                (random(2) == 0).then(|| (*at, torn[random(torn.len())]))
            });
            crashes.push(some.collect());
        }
        crashes
    }

    /// How an effect can be spoilt: a name is there or not.
    fn ways(&self, effect: usize) -> &'static [Torn] {
        match self.effects[effect] {
            Effect::Write(..) => &Torn::DAMAGED,
            Effect::Name(..) | Effect::Truncate(..) => &[Torn::Missing],
        }
    }

    /// What is there after a power cut that left `left`.
    pub(in crate::store) fn after(&self, left: &Left) -> Tree {
        let (mut names, mut contents) = (BTreeMap::new(), BTreeMap::<Node, Vec<u8>>::new());
        for (at, effect) in self.effects.iter().enumerate() {
            let torn = if self.durable.contains(&at) { Some(&Torn::Whole) } else { left.get(&at) };
            let torn = *torn.unwrap_or(&Torn::Missing);
            match effect {
                _ if torn == Torn::Missing => {}
                Effect::Name(dir, name, node) => drop(names.insert((*dir, name.clone()), *node)),
                Effect::Write(file, offset, data) => {
                    write(contents.entry(*file).or_default(), *offset, data, torn)
                }
                Effect::Truncate(file, len) => contents.entry(*file).or_default().resize(*len as usize, 0),
            }
        }
        let mut tree = Tree::default();
        self.collect(ROOT, &DiskPath::root(), &names, &contents, &mut tree);
        tree
    }

    fn collect(
        &self,
        dir: Node,
        at: &DiskPath,
        names: &BTreeMap<(Node, String), Option<Node>>,
        contents: &BTreeMap<Node, Vec<u8>>,
        tree: &mut Tree,
    ) {
        let below = names.range((dir, String::new())..(dir + 1, String::new()));
        for ((_, name), node) in below {
            let (path, Some(node)) = (at.join(name), *node) else { continue };
            if self.dirs.contains(&node) {
                tree.dirs.push(path.as_str().to_owned());
                self.collect(node, &path, names, contents, tree);
            } else {
                let content = contents.get(&node).cloned().unwrap_or_default();
                tree.files.push((path.as_str().to_owned(), content));
            }
        }
    }
}

fn write(content: &mut Vec<u8>, offset: u64, data: &[u8], torn: Torn) {
    let offset = offset as usize;
    let data = match torn {
        Torn::Half => &data[..data.len() / 2],
        _ => data,
    };
    if content.len() < offset + data.len() {
        content.resize(offset + data.len(), 0);
    }
    if torn != Torn::Zeros {
        content[offset..offset + data.len()].copy_from_slice(data);
    }
}

/// Directories and files, as they are after a power cut.
#[derive(Clone, Debug, Default, Hash)]
pub(in crate::store) struct Tree {
    dirs: Vec<String>,
    files: Vec<(String, Vec<u8>)>,
}

impl Tree {
    /// Tells it from others.
    pub(in crate::store) fn signature(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }

    pub(in crate::store) fn write_to(&self, root: &Path) {
        for directory in &self.dirs {
            std::fs::create_dir_all(root.join(directory)).unwrap();
        }
        for (path, content) in &self.files {
            std::fs::write(root.join(path), content).unwrap();
        }
    }
}
