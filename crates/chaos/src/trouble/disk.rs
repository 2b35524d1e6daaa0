//! A small disk for a data folder: a tmpfs, which only root may mount.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

/// What such a disk holds.
const SIZE: &str = "size=48m";

/// A small disk; unmounted when this is dropped.
#[derive(Debug)]
pub struct Disk(PathBuf);

impl Disk {
    /// Mounts it on a folder, which is made.
    pub fn mount(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", SIZE, "chaos"])
            .arg(folder)
            .status()?;
        ensure!(status.success(), "a tmpfs cannot be mounted here");
        Ok(Self(folder.to_owned()))
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }

    /// Fills it to the last byte.
    pub fn fill(&self) -> Result<()> {
        let mut file = File::create(self.filler())?;
        let mut block = vec![1_u8; 1 << 16];
        while !block.is_empty() {
            if file.write_all(&block).is_err() {
                let half = block.len() / 2;
                block.truncate(half);
            }
        }
        Ok(())
    }

    /// Gives the room back, where it is full.
    pub fn free(&self) -> Result<()> {
        match std::fs::remove_file(self.filler()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: something may still look at it.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
