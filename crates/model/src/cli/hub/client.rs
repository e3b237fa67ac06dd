//! The hub by crate `hf-hub`.

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use hf_hub::api::sync::{Api, ApiBuilder, ApiError};
use hf_hub::{Cache, Repo, RepoType};
use model::zoo::Published;

/// What the hub can fail with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HubError {
    /// There is no folder for the cache.
    #[error("there is no folder for downloads: set HF_HOME to one")]
    NoCache,
    /// The client does not start.
    #[error("the client of the hub does not start: {0}")]
    Client(#[source] Box<ApiError>),
    /// A file that must not be downloaded.
    #[error("{file} of {repository} is not in the cache, and HF_HUB_OFFLINE forbids to download it: unset it once")]
    Offline {
        /// Repository.
        repository: &'static str,
        /// File.
        file: String,
    },
    /// A file that could not be downloaded.
    #[error(
        "cannot download {file} of {repository}: {why}; check the connection, HF_ENDPOINT and the free space of HF_HOME, then \
         try again: it goes on where it stopped (if it never gets further, remove that repository from the cache)"
    )]
    Download {
        /// Repository.
        repository: &'static str,
        /// File.
        file: String,
        /// Cause.
        #[source]
        why: Box<ApiError>,
    },
}

impl HubError {
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::NoCache | Self::Offline { .. } => 2,
            Self::Client(_) | Self::Download { .. } => 1,
        }
    }
}

/// The hub, and what earlier calls or other programs have of it on the disk.
#[derive(Debug)]
pub(crate) struct Hub {
    api: Api,
    cache: Cache,
    offline: bool,
}

impl Hub {
    /// The hub as the environment names it.
    ///
    /// # Errors
    /// [`HubError::NoCache`] where there is no folder for the cache, [`HubError::Client`] where the client refuses its
    /// settings.
    pub(crate) fn from_env() -> Result<Self, HubError> {
        if std::env::var_os("HF_HOME").is_none() && std::env::home_dir().is_none() {
            return Err(HubError::NoCache);
        }
        let offline = std::env::var("HF_HUB_OFFLINE").is_ok_and(|value| is_true(&value));
        Self::new(ApiBuilder::from_env(), Cache::from_env(), offline)
    }

    /// A hub with settings of the caller; `cache` is the builder's own.
    pub(super) fn new(builder: ApiBuilder, cache: Cache, offline: bool) -> Result<Self, HubError> {
        let api = builder.build().map_err(|why| HubError::Client(Box::new(why)))?;
        Ok(Self { api, cache, offline })
    }

    /// A file of a commit in the cache, downloaded where it is not there. Its content may be anything.
    ///
    /// # Errors
    /// [`HubError::Offline`] where it must not be downloaded, [`HubError::Download`] where that fails.
    pub(crate) fn file(&self, published: &Published, name: &str) -> Result<PathBuf, HubError> {
        let (repository, file) = (published.source, name.to_owned());
        let repo = Repo::with_revision(repository.to_owned(), RepoType::Model, published.revision.to_owned());
        // Not by `Cache::get`: it asks for a reference that other clients leave out where the revision is a commit.
        let cached = self.cache.repo(repo.clone()).pointer_path(published.revision).join(name);
        if cached.is_file() {
            return Ok(cached);
        }
        if self.offline {
            return Err(HubError::Offline { repository, file });
        }
        let repo = self.api.repo(repo);
        // The client panics on answers that no hub gives.
        let answer = catch_unwind(AssertUnwindSafe(|| repo.download(name)));
        answer
            .unwrap_or_else(|_| Err(io::Error::other("the answer is not that of a hub").into()))
            .map_err(|why| HubError::Download { repository, file, why: Box::new(why) })
    }

    /// Takes a file out of the cache, so that the next call downloads it anew.
    #[expect(clippy::unused_self, reason = "the file is of this hub's cache")]
    pub(crate) fn forget(&self, path: &Path) {
        // Best effort: what stays is refused again. The cache holds links to its content.
        if let Ok(content) = fs::canonicalize(path) {
            let _ = fs::remove_file(content);
        }
        let _ = fs::remove_file(path);
    }
}

/// The words that the hub's own clients take for yes.
fn is_true(value: &str) -> bool {
    ["1", "true", "yes", "on"].contains(&value.to_ascii_lowercase().as_str())
}
