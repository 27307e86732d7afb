//! Names: a tree of directories, and which of its changes are durable.
//!
//! A change of names (made, renamed, removed) is one [`Change`] that a power loss keeps or undoes as a whole. It is durable
//! once every directory it touches was synced. Files are kept as long as a name that readers see, a name that a power loss
//! could bring back, or an open handle leads to them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::path::{Component, Path};

use ottla::runtime::DirEntry;

use super::super::Draw;
use super::page_cache::PageCache;
use super::power::PowerLossMode;

/// A file or directory, whatever its name.
pub(super) type Inode = u64;

const ROOT: Inode = 1;

/// The tree, and every file in it.
#[derive(Debug)]
pub(super) struct Tree {
    nodes: BTreeMap<Inode, Node>,
    next_inode: Inode,
    /// Changes that are not durable, oldest first.
    pending: Vec<Change>,
    next_change: u64,
    /// How often something may have become unreachable since that was looked at.
    forgettable: usize,
}

#[derive(Debug)]
enum Node {
    File { cache: PageCache, names: u32, handles: u32 },
    Dir(Dir),
}

#[derive(Debug, Default)]
struct Dir {
    entries: BTreeMap<String, Inode>,
    /// What is durable, and the number of the change that made it so.
    durable: BTreeMap<String, (u64, Option<Inode>)>,
}

/// One atomic change of names.
#[derive(Debug)]
struct Change {
    number: u64,
    /// Directory, name, what the name means from then on, and whether that directory was synced since.
    names: Vec<(Inode, String, Option<Inode>, bool)>,
}

/// Where a name stands: its directory and itself.
type Place = (Inode, String);

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Tree {
    pub(super) fn new() -> Self {
        let nodes = BTreeMap::from([(ROOT, Node::Dir(Dir::default()))]);
        Self { nodes, next_inode: ROOT + 1, pending: Vec::new(), next_change: 0, forgettable: 0 }
    }

    /// A tree without files, whose inodes were never used in this one.
    pub(super) fn emptied(&self) -> Self {
        Self { next_inode: self.next_inode, ..Self::new() }
    }

    fn dir(&self, inode: Inode) -> io::Result<&Dir> {
        match self.nodes.get(&inode) {
            Some(Node::Dir(dir)) => Ok(dir),
            Some(Node::File { .. }) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(not_found()),
        }
    }

    fn is_dir(&self, inode: Inode) -> bool {
        matches!(self.nodes.get(&inode), Some(Node::Dir(_)))
    }

    /// The content of an inode that is a file.
    pub(super) fn file(&mut self, inode: Inode) -> io::Result<&mut PageCache> {
        match self.nodes.get_mut(&inode) {
            Some(Node::File { cache, .. }) => Ok(cache),
            Some(Node::Dir(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(not_found()),
        }
    }

    /// What a path leads to.
    pub(super) fn find(&self, path: &Path) -> io::Result<Inode> {
        let mut inode = ROOT;
        for name in names(path)? {
            inode = *self.dir(inode)?.entries.get(name).ok_or_else(not_found)?;
        }
        Ok(inode)
    }

    /// What a path leads to after a power loss that loses all it can: nothing, or what stood there before a rename that is not durable.
    pub(super) fn find_durable(&self, path: &Path) -> io::Result<Inode> {
        let mut inode = ROOT;
        for name in names(path)? {
            let (_, entry) = self.dir(inode)?.durable.get(name).ok_or_else(not_found)?;
            inode = entry.ok_or_else(not_found)?;
        }
        Ok(inode)
    }

    /// The directory that a path's last name stands in, and that name.
    fn place(&self, path: &Path) -> io::Result<Place> {
        let mut names = names(path)?;
        let Some(last) = names.pop() else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let mut inode = ROOT;
        for name in names {
            inode = *self.dir(inode)?.entries.get(name).ok_or_else(not_found)?;
        }
        self.dir(inode)?;
        Ok((inode, last.to_owned()))
    }

    fn lookup(&self, (dir, name): &Place) -> Option<Inode> {
        self.dir(*dir).ok()?.entries.get(name).copied()
    }

    fn new_node(&mut self, node: Node) -> Inode {
        let inode = self.next_inode;
        self.next_inode += 1;
        self.nodes.insert(inode, node);
        inode
    }

    /// Applies a change to what readers see, and notes it as not durable.
    fn change(&mut self, names: Vec<(Place, Option<Inode>)>) {
        for ((dir, name), target) in &names {
            let Some(Node::Dir(dir)) = self.nodes.get_mut(dir) else {
                unreachable!("the place of a change is a directory")
            };
            let before = match target {
                Some(target) => dir.entries.insert(name.clone(), *target),
                None => dir.entries.remove(name),
            };
            self.count_name(before, -1);
            self.count_name(*target, 1);
        }
        let number = self.next_change;
        self.next_change += 1;
        let names = names.into_iter().map(|((dir, name), target)| (dir, name, target, false));
        self.pending.push(Change { number, names: names.collect() });
    }

    fn count_name(&mut self, inode: Option<Inode>, by: i32) {
        let node = inode.and_then(|inode| self.nodes.get_mut(&inode));
        if let Some(Node::File { names, .. }) = node {
            *names = names.saturating_add_signed(by);
        }
    }

    /// Makes an empty file. Its place must be free.
    pub(super) fn create(&mut self, path: &Path) -> io::Result<Inode> {
        let place = self.place(path)?;
        let file = Node::File { cache: PageCache::default(), names: 0, handles: 0 };
        let inode = self.new_node(file);
        self.change(vec![(place, Some(inode))]);
        Ok(inode)
    }

    pub(super) fn create_dir_all(&mut self, path: &Path) -> io::Result<()> {
        let mut inode = ROOT;
        for name in names(path)? {
            let place = (inode, name.to_owned());
            inode = match self.lookup(&place) {
                Some(inode) if self.is_dir(inode) => inode,
                Some(_) => return Err(io::ErrorKind::AlreadyExists.into()),
                None => {
                    let inode = self.new_node(Node::Dir(Dir::default()));
                    self.change(vec![(place, Some(inode))]);
                    inode
                }
            };
        }
        Ok(())
    }

    pub(super) fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let entries = &self.dir(self.find(path)?)?.entries;
        let entry = |(name, inode): (&String, &Inode)| DirEntry {
            name: name.clone(),
            is_dir: self.is_dir(*inode),
        };
        Ok(entries.iter().map(entry).collect())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let inode = self.find(from)?;
        let (from, to) = (self.place(from)?, self.place(to)?);
        if from == to {
            return Ok(());
        }
        match self.lookup(&to) {
            Some(over) if self.is_dir(over) => {
                if !self.is_dir(inode) {
                    return Err(io::ErrorKind::IsADirectory.into());
                }
                if !self.dir(over)?.entries.is_empty() {
                    return Err(io::ErrorKind::DirectoryNotEmpty.into());
                }
            }
            Some(_) if self.is_dir(inode) => return Err(io::ErrorKind::NotADirectory.into()),
            Some(_) | None => {}
        }
        if self.is_dir(inode) && self.reaches(inode, to.0) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.change(vec![(from, None), (to, Some(inode))]);
        Ok(())
    }

    /// Whether `below` is `above` or somewhere in it.
    fn reaches(&self, above: Inode, below: Inode) -> bool {
        let mut seen = vec![above];
        while let Some(inode) = seen.pop() {
            if inode == below {
                return true;
            }
            seen.extend(self.dir(inode).into_iter().flat_map(|dir| dir.entries.values()));
        }
        false
    }

    pub(super) fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        if self.is_dir(self.find(path)?) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let place = self.place(path)?;
        self.change(vec![(place, None)]);
        Ok(())
    }

    pub(super) fn remove_dir_all(&mut self, path: &Path) -> io::Result<()> {
        let top = self.find(path)?;
        if !self.is_dir(top) {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        // Deepest last, then undone from the end: a directory is removed when it is empty, as the kernel wants it.
        let (mut dirs, mut index) = (vec![top], 0);
        let mut places = Vec::new();
        while index < dirs.len() {
            for (name, inode) in &self.dir(dirs[index])?.entries {
                places.push((dirs[index], name.clone()));
                if self.is_dir(*inode) {
                    dirs.push(*inode);
                }
            }
            index += 1;
        }
        for place in places.into_iter().rev() {
            self.change(vec![(place, None)]);
        }
        let place = self.place(path)?;
        self.change(vec![(place, None)]);
        Ok(())
    }

    /// Makes the names in a directory durable.
    pub(super) fn sync_dir(&mut self, inode: Inode) -> io::Result<()> {
        self.dir(inode)?;
        let mut pending = std::mem::take(&mut self.pending);
        for change in &mut pending {
            for name in &mut change.names {
                name.3 |= name.0 == inode;
            }
        }
        let (done, still) =
            pending.into_iter().partition(|change| change.names.iter().all(|name| name.3));
        self.pending = still;
        let done: Vec<Change> = done;
        if done.is_empty() {
            return Ok(());
        }
        done.into_iter().for_each(|change| self.make_durable(change));
        self.may_forget();
        Ok(())
    }

    fn make_durable(&mut self, change: Change) {
        for (dir, name, target, _) in change.names {
            if let Some(Node::Dir(dir)) = self.nodes.get_mut(&dir) {
                let known = dir.durable.entry(name).or_insert((0, None));
                if known.0 <= change.number {
                    *known = (change.number, target);
                }
            }
        }
    }

    /// How many changes of names are not durable.
    pub(super) fn unsynced_changes(&self) -> usize {
        self.pending.len()
    }

    /// Counts an open handle.
    pub(super) fn add_handle(&mut self, inode: Inode) {
        if let Some(Node::File { handles, .. }) = self.nodes.get_mut(&inode) {
            *handles += 1;
        }
    }

    /// A handle is closed.
    pub(super) fn drop_handle(&mut self, inode: Inode) {
        if let Some(Node::File { handles, names, .. }) = self.nodes.get_mut(&inode) {
            *handles = handles.saturating_sub(1);
            if *handles == 0 && *names == 0 {
                self.may_forget();
            }
        }
    }

    /// Every handle is closed: the process has ended.
    pub(super) fn drop_handles(&mut self) {
        for node in self.nodes.values_mut() {
            if let Node::File { handles, .. } = node {
                *handles = 0;
            }
        }
        self.forget_unreachable();
    }

    /// How many bytes are in use: those of files that have a name or a handle.
    pub(super) fn used(&self) -> u64 {
        let length = |node: &Node| match node {
            Node::File { cache, names, handles } if *names > 0 || *handles > 0 => cache.length(),
            Node::File { .. } | Node::Dir(_) => 0,
        };
        self.nodes.values().map(length).sum()
    }

    /// Each file that readers can see, with its path, sorted by it.
    pub(super) fn files(&self) -> Vec<(String, Inode)> {
        let mut found = Vec::new();
        let mut open = vec![(String::new(), ROOT)];
        while let Some((path, inode)) = open.pop() {
            match &self.nodes[&inode] {
                Node::Dir(dir) => {
                    let below = dir.entries.iter();
                    open.extend(below.map(|(name, inode)| (format!("{path}/{name}"), *inode)));
                }
                Node::File { .. } => found.push((path, inode)),
            }
        }
        found.sort_unstable();
        found
    }

    /// Every file, with or without a name.
    pub(super) fn all_files(&mut self) -> Vec<Inode> {
        self.forget_unreachable();
        let files = self.nodes.iter().filter(|(_, node)| matches!(node, Node::File { .. }));
        files.map(|(inode, _)| *inode).collect()
    }

    /// Undoes what the mode says of the changes that were not durable. How many were undone.
    pub(super) fn lose_power(&mut self, mode: PowerLossMode, draw: &mut Draw) -> u64 {
        let mut lost = 0;
        for change in std::mem::take(&mut self.pending) {
            let kept = match mode {
                PowerLossMode::KeepAll | PowerLossMode::TornLastWrite => true,
                PowerLossMode::LoseUnsynced => false,
                PowerLossMode::LoseRandomUnsynced => draw.chance(500_000),
            };
            if kept {
                self.make_durable(change);
            } else {
                lost += 1;
            }
        }
        for node in self.nodes.values_mut() {
            match node {
                Node::File { names, handles, .. } => (*names, *handles) = (0, 0),
                Node::Dir(dir) => {
                    let durable = dir.durable.iter();
                    let durable =
                        durable.filter_map(|(name, (_, inode))| Some((name.clone(), (*inode)?)));
                    dir.entries = durable.collect();
                }
            }
        }
        self.cut_second_names();
        self.forget_unreachable();
        lost
    }

    /// Counts names anew. A draw may have kept a rename's new name and a later change's undoing of it: a file or directory
    /// then has two names, and keeps the first.
    fn cut_second_names(&mut self) {
        let mut seen = BTreeSet::new();
        let mut open = vec![ROOT];
        while let Some(inode) = open.pop() {
            let Some(Node::Dir(dir)) = self.nodes.get_mut(&inode) else { continue };
            dir.entries.retain(|_, inode| seen.insert(*inode));
            let kept = &dir.entries;
            dir.durable.retain(|name, _| kept.contains_key(name));
            open.extend(dir.entries.values().copied());
        }
        for inode in seen {
            self.count_name(Some(inode), 1);
        }
    }

    /// Something may be unreachable now. To look takes as long as there are nodes: it waits until that many may be.
    fn may_forget(&mut self) {
        self.forgettable += 1;
        if self.forgettable > self.nodes.len() / 4 {
            self.forget_unreachable();
        }
    }

    /// Drops what no name, no possible name and no handle leads to, and what says that a name is durably gone where no change before
    /// that can become durable any more.
    fn forget_unreachable(&mut self) {
        self.forgettable = 0;
        let oldest = self.pending.first().map(|change| change.number);
        for node in self.nodes.values_mut() {
            if let Node::Dir(dir) = node {
                let counts = |number: u64| oldest.is_some_and(|oldest| oldest < number);
                dir.durable.retain(|_, (number, inode)| inode.is_some() || counts(*number));
            }
        }
        let mut reached = BTreeSet::new();
        let targets = self.pending.iter().flat_map(|change| &change.names);
        let mut open: Vec<Inode> =
            targets.flat_map(|name| [Some(name.0), name.2]).flatten().collect();
        open.push(ROOT);
        open.extend(self.nodes.iter().filter_map(|(inode, node)| match node {
            Node::File { handles, .. } if *handles > 0 => Some(*inode),
            Node::File { .. } | Node::Dir(_) => None,
        }));
        while let Some(inode) = open.pop() {
            if !reached.insert(inode) {
                continue;
            }
            if let Some(Node::Dir(dir)) = self.nodes.get(&inode) {
                open.extend(dir.entries.values());
                open.extend(dir.durable.values().filter_map(|(_, inode)| *inode));
            }
        }
        self.nodes.retain(|inode, _| reached.contains(inode));
    }
}

/// The names of a path, the root left out.
fn names(path: &Path) -> io::Result<Vec<&str>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => {
                let name: Option<&str> = OsStr::to_str(name);
                names.push(name.ok_or(io::ErrorKind::InvalidInput)?);
            }
            Component::ParentDir => drop(names.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(paths: &[&str]) -> Tree {
        let mut tree = Tree::new();
        tree.create_dir_all(Path::new("/logs")).unwrap();
        tree.sync_dir(ROOT).unwrap();
        for path in paths {
            tree.create(Path::new(path)).unwrap();
        }
        tree
    }

    fn sync(tree: &mut Tree, path: &str) {
        let inode = tree.find(Path::new(path)).unwrap();
        tree.sync_dir(inode).unwrap();
    }

    fn left(mut tree: Tree, mode: PowerLossMode, seed: u64) -> Vec<String> {
        tree.lose_power(mode, &mut Draw::new(seed, "test"));
        tree.files().into_iter().map(|(path, _)| path).collect()
    }

    #[test]
    fn a_name_is_durable_once_its_directory_is_synced() {
        let mut tree = tree(&["/logs/a"]);
        sync(&mut tree, "/logs");
        tree.create(Path::new("/logs/b")).unwrap();
        assert_eq!(left(tree, PowerLossMode::LoseUnsynced, 1), ["/logs/a"]);
    }

    #[test]
    fn an_unsynced_directory_is_lost_with_all_in_it() {
        let mut tree = tree(&[]);
        tree.create_dir_all(Path::new("/logs/t-0")).unwrap();
        tree.create(Path::new("/logs/t-0/a")).unwrap();
        sync(&mut tree, "/logs/t-0");
        assert!(left(tree, PowerLossMode::LoseUnsynced, 1).is_empty());
    }

    #[test]
    fn an_unsynced_rename_leaves_the_old_name_or_the_new_one_never_both_never_none() {
        for seed in 0..20 {
            let mut tree = tree(&["/logs/a.tmp", "/logs/a"]);
            sync(&mut tree, "/logs");
            tree.rename(Path::new("/logs/a.tmp"), Path::new("/logs/a")).unwrap();
            let left = left(tree, PowerLossMode::LoseRandomUnsynced, seed);
            assert!(left == ["/logs/a"] || left == ["/logs/a", "/logs/a.tmp"], "{left:?}");
        }
    }

    #[test]
    fn an_unsynced_removal_may_come_back_and_a_synced_one_does_not() {
        let mut tree = tree(&["/logs/a", "/logs/b"]);
        sync(&mut tree, "/logs");
        tree.remove_file(Path::new("/logs/a")).unwrap();
        sync(&mut tree, "/logs");
        tree.remove_file(Path::new("/logs/b")).unwrap();
        tree.forget_unreachable();
        assert_eq!(tree.nodes.len(), 3, "root, logs, and b, which may come back");
        assert_eq!(left(tree, PowerLossMode::LoseUnsynced, 1), ["/logs/b"]);
    }

    #[test]
    fn a_rename_between_directories_needs_both_synced() {
        let mut tree = tree(&["/logs/a"]);
        tree.create_dir_all(Path::new("/other")).unwrap();
        sync(&mut tree, "/");
        sync(&mut tree, "/logs");
        tree.rename(Path::new("/logs/a"), Path::new("/other/a")).unwrap();
        sync(&mut tree, "/other");
        assert_eq!(tree.unsynced_changes(), 1);
        sync(&mut tree, "/logs");
        assert_eq!(left(tree, PowerLossMode::LoseUnsynced, 1), ["/other/a"]);
    }

    #[test]
    fn random_losses_never_leave_a_file_with_two_names() {
        for seed in 0..200 {
            let mut tree = tree(&["/logs/a"]);
            for step in 0..6u64 {
                let names = ["/logs/a", "/logs/b", "/logs/c"];
                let from = names[usize::try_from(step % 3).unwrap()];
                let to = names[usize::try_from((step + 1) % 3).unwrap()];
                tree.rename(Path::new(from), Path::new(to)).unwrap();
            }
            let left = left(tree, PowerLossMode::LoseRandomUnsynced, seed);
            assert!(left.len() <= 1, "{left:?}");
        }
    }

    #[test]
    fn a_removed_directory_is_gone_with_its_files_and_their_space() {
        let mut tree = tree(&["/logs/a"]);
        let a = tree.find(Path::new("/logs/a")).unwrap();
        tree.file(a).unwrap().write(0, &[[1u8; 100]]);
        assert_eq!(tree.used(), 100);
        tree.remove_dir_all(Path::new("/logs")).unwrap();
        assert_eq!(tree.used(), 0);
        assert!(tree.files().is_empty());
        sync(&mut tree, "/");
    }

    #[test]
    fn a_directory_cannot_be_moved_into_itself() {
        let mut tree = tree(&[]);
        tree.create_dir_all(Path::new("/logs/in")).unwrap();
        assert!(tree.rename(Path::new("/logs"), Path::new("/logs/in/logs")).is_err());
    }
}
