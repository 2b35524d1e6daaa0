//! Giving up every privilege for good.

use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::error::{LaunchError, Step as _};

/// Makes sure that neither this process nor anything that it starts can gain a privilege again.
///
/// Within the sandbox's namespaces this matters most to a user who is root outside: whoever keeps
/// `CAP_SYS_ADMIN` there can make the file system writable again.
pub(crate) fn drop_all() -> Result<(), LaunchError> {
    rustix::thread::set_no_new_privs(true).step("forbid new privileges")?;
    rustix::thread::clear_ambient_capability_set().step("give up ambient capabilities")?;
    for number in 0..64 {
        match rustix::thread::remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(
            1 << number,
        )) {
            Ok(()) => {}
            Err(Errno::INVAL) => break, // the kernel knows no more of them
            Err(error) => return Err(error).step("give up capabilities for good"),
        }
    }
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    rustix::thread::set_capabilities(None, sets).step("give up capabilities")
}
