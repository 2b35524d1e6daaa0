//! Where files are: the folder of settings and the folder of data.

use std::path::PathBuf;

use etcetera::BaseStrategy;

use super::ConfigError;

/// The folders of this user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// Settings: `$JOURNEYMAN_CONFIG`, else `journeyman` in the user's configuration folder.
    pub config: PathBuf,
    /// Data: `$JOURNEYMAN_DATA`, else `journeyman` in the user's data folder.
    pub data: PathBuf,
}

impl Paths {
    /// Finds them; nothing is created.
    pub fn find() -> Result<Self, ConfigError> {
        let given = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(absolute);
        let base = etcetera::choose_base_strategy().ok();
        let config = given("JOURNEYMAN_CONFIG")
            .or_else(|| base.as_ref().map(|base| base.config_dir().join("journeyman")));
        let data = given("JOURNEYMAN_DATA")
            .or_else(|| base.as_ref().map(|base| base.data_dir().join("journeyman")));
        match (config, data) {
            (Some(config), Some(data)) => Ok(Self { config, data }),
            _ => Err(ConfigError::NoHome),
        }
    }

    /// The user's settings file.
    pub fn settings_file(&self) -> PathBuf {
        self.config.join("journeyman.toml")
    }

    /// The folder of the runs' workspaces.
    pub fn runs(&self) -> PathBuf {
        self.data.join("runs")
    }

    /// The folder of delivered patches.
    pub fn patches(&self) -> PathBuf {
        self.data.join("patches")
    }
}

fn absolute(path: std::ffi::OsString) -> PathBuf {
    let path = PathBuf::from(path);
    std::path::absolute(&path).unwrap_or(path)
}
