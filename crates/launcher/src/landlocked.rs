//! Confining writes without namespaces, by Landlock.

use std::path::PathBuf;

use landlock::{
    ABI, AccessFs, LandlockStatus, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _,
    path_beneath_rules,
};

use crate::error::LaunchError;
use crate::policy::Policy;

/// Devices that programs write to and that keep nothing.
const DEVICES: [&str; 7] =
    ["/dev/null", "/dev/zero", "/dev/full", "/dev/tty", "/dev/ptmx", "/dev/pts", "/dev/shm"];

/// Confines the writes of this process, and of all that it starts, to the policy's folders; a
/// kernel without Landlock confines nothing.
pub(crate) fn confine(policy: &Policy) -> Result<(), LaunchError> {
    let mut paths = policy.writable.clone();
    paths.extend(DEVICES.map(Into::into));
    match &policy.temporary {
        Some(folder) => paths.push(folder.clone()),
        None => paths.extend(["/tmp", "/var/tmp"].map(Into::into)),
    }
    restrict(&paths).map(drop)
}

/// The version of Landlock that is in force, found by restricting this process; 0 for none.
pub(crate) fn version() -> Result<u32, LaunchError> {
    restrict(&[])
}

fn restrict(paths: &[PathBuf]) -> Result<u32, LaunchError> {
    // The rights of version 3 are all those that change files; later ones would also forbid
    // ioctls on terminals.
    let writes = AccessFs::from_write(ABI::V3);
    let status = Ruleset::default()
        .handle_access(writes)
        .and_then(Ruleset::create)
        .and_then(|ruleset| ruleset.add_rules(path_beneath_rules(paths, writes)))
        .and_then(landlock::RulesetCreated::restrict_self)
        .map_err(LaunchError::Landlock)?;
    Ok(match status.landlock {
        LandlockStatus::Available { effective_abi, .. } => effective_abi as u32,
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => 0,
    })
}
