//! A temporary directory beside the configured store, on the store's disk.

use std::path::{Path, PathBuf};

use crate::app;

use super::error::CliError;

/// A temporary directory, which is removed when this value is dropped.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn new(data_dir: &Path) -> Result<Scratch, CliError> {
        let path = data_dir.join(format!("scratch-{}", uuid::Uuid::new_v4().simple()));
        app::make_data_dir(&path)?;
        Ok(Scratch(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!("{} is left behind: {error}", self.0.display());
        }
    }
}
