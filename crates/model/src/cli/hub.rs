//! Files of the Hugging Face hub: the one place that depends on the feature `hub`.
//!
//! Endpoint, cache and token are those of the hub's own clients: `HF_ENDPOINT`, `HF_HOME`, `HF_HUB_OFFLINE`. What was
//! downloaded is in their cache afterwards; nothing here trusts it.

#[cfg(feature = "hub")]
mod client;
#[cfg(feature = "hub")]
#[cfg(test)]
mod tests;

#[cfg(feature = "hub")]
pub(super) use client::{Hub, HubError};
#[cfg(not(feature = "hub"))]
pub(super) use without::{Hub, HubError};

#[cfg(not(feature = "hub"))]
mod without {
    use std::path::{Path, PathBuf};

    use model::zoo::Published;

    /// Of a program that cannot download there is no hub.
    #[derive(Debug)]
    pub(crate) enum Hub {}

    /// This program was built without the feature `hub`.
    #[derive(Debug, thiserror::Error)]
    #[error(
        "this program was built without downloads: build it with `cargo build --release -p model --features hub`; everything \
         else works offline, with folders that were downloaded in any other way too"
    )]
    pub(crate) struct HubError;

    impl HubError {
        #[expect(clippy::unused_self, reason = "programs that download look at the cause")]
        pub(crate) fn exit_code(&self) -> u8 {
            2
        }
    }

    impl Hub {
        pub(crate) fn from_env() -> Result<Self, HubError> {
            Err(HubError)
        }

        pub(crate) fn file(&self, _: &Published, _: &str) -> Result<PathBuf, HubError> {
            match *self {}
        }

        pub(crate) fn forget(&self, _: &Path) {
            match *self {}
        }
    }
}
