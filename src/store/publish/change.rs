//! `Change`: one thing that becomes different in the tree.
//!
//! Knows what each change does to names, and what must be synced for it to
//! last. Does not know when.

use std::time::SystemTime;

use storage_layout::Digest;
use storage_layout::Dir;
use storage_layout::Entry;
use storage_layout::RepositoryName;
use storage_layout::Tag;
use storage_layout::parse_link;

use crate::store::Error;
use crate::store::Version;
use crate::store::content::is_of_nothing;
use crate::store::disk::DiskFile;
use crate::store::disk::DiskPath;
use crate::store::publish::TRASH;
use crate::store::publish::batch::Batch;

/// One thing that becomes different in the tree.
#[derive(Debug)]
pub(in crate::store) enum Change {
    /// Files and directories that were staged become durable.
    Sync(Vec<DiskFile>, Vec<DiskPath>),
    /// A blob is stored whole, and counts as used now; otherwise the publication ends.
    Require(Digest),
    /// A staged file becomes a blob of this length, unless one that was found to be whole is stored already.
    Blob(DiskPath, Digest, u64),
    /// A staged file becomes a link to `Digest`, unless there is such a link already.
    Link(DiskPath, Entry, Digest),
    /// A staged directory becomes a tag that points at `Digest`.
    Tag(DiskPath, RepositoryName, Tag, Digest),
    /// A staged file becomes a document of our own.
    Document(DiskPath, &'static str),
    /// A directory is removed with all that is in it; where there is none, the publication ends.
    Remove(Dir),
    /// As [`Change::Remove`], but a power cut may bring it back.
    Forget(Dir),
    /// A directory with a blob or a link to one is removed, unless the blob or the link was used since, or
    /// somebody counts on it: then the publication ends.
    Sweep {
        /// What makes the directory count.
        file: DiskPath,
        /// The directory.
        dir: DiskPath,
        /// The blob.
        digest: Digest,
        /// Since when it must not have been used.
        since: Since,
    },
    /// A file is moved out of the tree; where there is none, the publication ends.
    SetAside {
        /// Which file.
        file: DiskPath,
        /// Where to.
        to: DiskPath,
    },
}

/// Since when something that is removed must not have been used, at this time or later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Since {
    /// Garbage: and nobody may have been told of it of late.
    Grace(SystemTime),
    /// What was published then, and is removed on purpose: who was told of it before then is whoever
    /// published it.
    Published(SystemTime),
}

/// How changes ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Outcome {
    /// They are made and durable.
    Done,
    /// Something that they need is not there; no later step was taken.
    Ended,
}

impl Batch<'_> {
    /// Makes the changes of a step, up to one that ends the publication.
    pub(super) fn apply_all(&mut self, changes: Vec<Change>) -> Result<Outcome, Error> {
        for change in changes {
            if self.apply(change)? == Outcome::Ended {
                return Ok(Outcome::Ended);
            }
        }
        Ok(Outcome::Done)
    }

    fn apply(&mut self, change: Change) -> Result<Outcome, Error> {
        match change {
            Change::Sync(files, dirs) => self.sync_staged(files, dirs),
            Change::Require(digest) => return self.require(&digest),
            Change::Blob(staged, digest, len) => self.place_blob(&staged, &digest, len)?,
            Change::Link(staged, link, target) => self.place_link(&staged, &link.path().into(), &target)?,
            Change::Tag(staged, name, tag, target) => self.place_tag(&staged, &name, &tag, &target)?,
            Change::Document(staged, name) => self.place(&staged, &DiskPath::own(name))?,
            Change::Remove(dir) => return self.remove(&dir.path().into()),
            Change::Forget(dir) => return self.throw_away(&dir.path().into()),
            Change::Sweep { file, dir, digest, since } => return self.sweep(&file, &dir, &digest, since),
            Change::SetAside { file, to } => return self.set_aside(&file, &to),
        }
        Ok(Outcome::Done)
    }

    fn require(&mut self, digest: &Digest) -> Result<Outcome, Error> {
        let at = Entry::Blob(*digest).path().into();
        match self.whole(&at, digest) {
            Some(_) => self.keep_blob(&at).map(|()| Outcome::Done),
            None => Ok(Outcome::Ended),
        }
    }

    fn place_blob(&mut self, staged: &DiskPath, digest: &Digest, len: u64) -> Result<(), Error> {
        let at = Entry::Blob(*digest).path().into();
        if self.is_sound(&at, len) {
            let _ = self.of.disk.remove_file(staged);
            self.keep_blob(&at)?;
            self.mark_sound(&at);
            return Ok(());
        }
        // What is stored already may be damaged without anybody knowing, and what came in was hashed: it
        // takes its place. The age of a blob is that of its publication, not of its upload's last byte:
        // garbage collection spares what is young.
        self.touch(staged)?;
        self.place(staged, &at)?;
        self.mark_sound(&at);
        Ok(())
    }

    /// Whether a blob of this length is stored and was found to have its digest.
    fn is_sound(&self, at: &DiskPath, len: u64) -> bool {
        let version = self.of.tree.version_at(at).ok().flatten();
        version.is_some_and(|version| version.len() == len && self.of.contents.is_sound(&version))
    }

    /// It was hashed while it came in, or before: who asks for it first need not wait for that again.
    fn mark_sound(&self, at: &DiskPath) {
        if let Ok(Some(version)) = self.of.tree.version_at(at) {
            self.of.contents.mark_sound(version);
        }
    }

    /// A blob that is stored already is used now, and as durable as one that was stored now.
    fn keep_blob(&mut self, at: &DiskPath) -> Result<(), Error> {
        self.touch(at)?;
        self.confirm(at)
    }

    /// The version of a stored blob that is not known to be damaged. A symbolic link in its place is no blob.
    fn whole(&self, at: &DiskPath, digest: &Digest) -> Option<Version> {
        let version = self.of.tree.version_at(at).ok()??;
        let is_whole =
            !self.of.contents.is_damaged(&version) && (!version.is_empty() || is_of_nothing(digest));
        is_whole.then_some(version)
    }

    fn place_link(&mut self, staged: &DiskPath, at: &DiskPath, target: &Digest) -> Result<(), Error> {
        let present = self.of.tree.read_at(at).ok().flatten();
        if present.is_some_and(|content| parse_link(&content).is_ok_and(|present| present == *target)) {
            let _ = self.of.disk.remove_file(staged);
            return self.confirm(at);
        }
        self.place(staged, at)
    }

    /// A new tag appears whole; of one that is there, first the index gets an entry and then the tag points
    /// at it.
    fn place_tag(
        &mut self,
        staged: &DiskPath,
        name: &RepositoryName,
        tag: &Tag,
        target: &Digest,
    ) -> Result<(), Error> {
        let at: DiskPath = Dir::Tag(name.clone(), tag.clone()).path().into();
        if self.of.tree.version_at(&at)?.is_none() {
            return self.place(staged, &at);
        }
        let index = Entry::TagIndex(name.clone(), tag.clone(), *target).path().into();
        self.place_link(&index_link(staged, target), &index, target)?;
        let current = Entry::TagCurrent(name.clone(), tag.clone()).path().into();
        self.place_link(&current_link(staged), &current, target)?;
        self.trash.push(staged.clone());
        Ok(())
    }

    fn remove(&mut self, at: &DiskPath) -> Result<Outcome, Error> {
        let outcome = self.withdraw(at)?;
        if outcome == Outcome::Done {
            self.dirs.extend(at.parent());
        }
        Ok(outcome)
    }

    /// As [`Batch::throw_away`], of what readers may have open by its name.
    fn withdraw(&mut self, at: &DiskPath) -> Result<Outcome, Error> {
        let outcome = self.throw_away(at)?;
        if outcome == Outcome::Done {
            self.of.tree.forget_names();
        }
        Ok(outcome)
    }

    /// Renames a directory away, whole, to be taken apart later.
    fn throw_away(&mut self, at: &DiskPath) -> Result<Outcome, Error> {
        if self.of.tree.version_at(at)?.is_none() {
            return Ok(Outcome::Ended);
        }
        let trash = self.of.new_name(TRASH);
        self.of.disk.rename(at, &trash).map_err(|error| self.of.health.failed("remove", at, error))?;
        self.trash.push(trash);
        Ok(Outcome::Done)
    }

    fn sweep(
        &mut self,
        file: &DiskPath,
        dir: &DiskPath,
        digest: &Digest,
        since: Since,
    ) -> Result<Outcome, Error> {
        let (Since::Grace(time) | Since::Published(time)) = since;
        // What is pushed again, or mounted, touches the blob and not every link to it.
        let blob: DiskPath = Entry::Blob(*digest).path().into();
        let used = [self.of.tree.version_at(file)?, self.of.tree.version_at(&blob)?];
        let was_used = used.iter().flatten().any(|version| version.modified() >= time);
        if used[0].is_none() || was_used || self.is_leased(digest, since) {
            return Ok(Outcome::Ended);
        }
        self.of.contents.forget(digest);
        // A link that is gone must not come back to a blob that is; a blob that a power cut brings back is
        // garbage again, and each of a release's lies in a directory of its own, which would all have to be
        // synced.
        if *dir == Dir::Blob(*digest).path().into() {
            self.withdraw(dir)?;
        } else {
            self.remove(dir)?;
        }
        // Somebody who asked a moment ago may have seen it still: then it stays.
        if self.is_leased(digest, since)
            && let Some(trash) = self.trash.pop()
        {
            let back = self.of.disk.rename(&trash, dir);
            back.map_err(|error| self.of.health.failed("name", dir, error))?;
            return Ok(Outcome::Ended);
        }
        Ok(Outcome::Done)
    }

    fn is_leased(&self, digest: &Digest, since: Since) -> bool {
        match since {
            Since::Grace(_) => self.of.leases.is_leased(digest),
            Since::Published(time) => self.of.leases.is_leased_since(digest, time),
        }
    }

    fn set_aside(&mut self, file: &DiskPath, to: &DiskPath) -> Result<Outcome, Error> {
        if self.of.tree.version_at(file)?.is_none() {
            return Ok(Outcome::Ended);
        }
        self.place(file, to)?;
        self.dirs.extend(file.parent());
        Ok(Outcome::Done)
    }

    fn touch(&self, at: &DiskPath) -> Result<(), Error> {
        let touched = self.of.disk.touch(at, SystemTime::now());
        touched.map_err(|error| self.of.health.failed("touch", at, error))
    }
}

/// The link in a staged tag that says what it points at.
pub(in crate::store) fn current_link(staged: &DiskPath) -> DiskPath {
    staged.join("current").join("link")
}

/// The link in a staged tag that says what it pointed at.
pub(in crate::store) fn index_link(staged: &DiskPath, target: &Digest) -> DiskPath {
    let algorithm = staged.join("index").join(target.algorithm().as_str());
    algorithm.join(target.hex().as_ref()).join("link")
}
