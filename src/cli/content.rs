//! Which store an upkeep command works on.
//!
//! Knows where content lies when nobody says where, and how to ask the server that may write it. Does not
//! know what is asked.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Runtime;

use crate::cli::Failure;
use crate::cli::surroundings;
use crate::peer::Local;
use crate::store;
use crate::store::Access;
use crate::store::Options;
use crate::store::Store;

/// The flags.
#[derive(Debug, clap::Args)]
pub(super) struct Content {
    /// Where content lies: a directory, an ISO image, a block device, or the first part of a split image;
    /// repeatable
    #[arg(long, value_name = "PATH", env = "LARDER_ROOT", hide_env_values = true, value_delimiter = ':')]
    root: Vec<PathBuf>,
    /// The server's administration socket, asked where a server writes there
    #[arg(long, value_name = "PATH", env = "LARDER_ADMIN_SOCKET", hide_env_values = true)]
    admin_socket: Option<PathBuf>,
}

/// How long the server may take: as long as hashing a full disk.
const LIMIT: Duration = Duration::from_secs(24 * 60 * 60);

impl Content {
    /// The roots: those that were named, or the one that `larder serve` would take.
    fn roots(&self) -> Vec<PathBuf> {
        if self.root.is_empty() { vec![surroundings::find().root] } else { self.root.clone() }
    }

    /// Opens the store.
    pub(super) fn open(&self, access: Access) -> Result<Store, store::Error> {
        let roots = self.roots();
        if let Some(missing) = roots.iter().find(|it| !it.exists()) {
            let path = missing.display().to_string();
            return Err(store::Error::Io {
                doing: "open",
                path,
                source: std::io::ErrorKind::NotFound.into(),
            });
        }
        Store::open(&Options { roots, access, ..Options::default() })
    }

    /// Does `work` on the store, which is opened for it and closed after it; `None` where a server writes
    /// there, which is to be asked then.
    pub(super) fn here<T, E>(
        &self,
        runtime: &Runtime,
        access: Access,
        work: impl AsyncFnOnce(&Store) -> Result<T, E>,
    ) -> Result<Option<T>, Failure>
    where
        Failure: From<E>,
    {
        let store = match self.open(access) {
            Ok(store) => store,
            Err(store::Error::Locked { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let done = runtime.block_on(async {
            let done = work(&store).await;
            store.close().await;
            done
        })?;
        Ok(Some(done))
    }

    /// Has the server do it that writes there.
    pub(super) fn ask<T: DeserializeOwned>(
        &self,
        runtime: &Runtime,
        path: &str,
        request: &impl Serialize,
    ) -> Result<T, Failure> {
        let server = self.server()?;
        let answer = runtime.block_on(server.post(path, serde_json::to_vec(request)?))?;
        Ok(serde_json::from_slice(&answer).context("cannot read the server's answer")?)
    }

    /// Has the server that writes there remove something.
    pub(super) fn ask_to_delete<T: DeserializeOwned>(
        &self,
        runtime: &Runtime,
        path: &str,
    ) -> Result<T, Failure> {
        let answer = runtime.block_on(self.server()?.delete(path))?;
        Ok(serde_json::from_slice(&answer).context("cannot read the server's answer")?)
    }

    /// What the server tells that serves here; `None` where none does, or another place was named.
    pub(super) fn hear<T: DeserializeOwned>(&self, path: &str) -> Option<T> {
        if !self.root.is_empty() && self.admin_socket.is_none() {
            return None;
        }
        let socket = self.admin_socket.clone().or_else(|| surroundings::find().admin_socket)?;
        let answer = surroundings::runtime().ok()?.block_on(Local::new(socket).get(path)).ok()?;
        serde_json::from_slice(&answer).ok()
    }

    fn server(&self) -> Result<Local, Failure> {
        let socket = self.admin_socket.clone().or_else(|| surroundings::find().admin_socket);
        let socket = socket.ok_or_else(|| {
            Failure::usage("a server writes there, and there is no place for its administration socket")
                .with_hint("name it with `--admin-socket`")
        })?;
        Ok(Local::new(socket).with_limit(LIMIT))
    }
}
