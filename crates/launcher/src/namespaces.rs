//! Entering namespaces.

use std::fs;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, recv, sendto, socket};
use rustix::thread::{CapabilitySet, UnshareFlags};

use crate::error::{LaunchError, Step as _};

/// Enters fresh namespaces; with `USER` among them, this user appears there as `appear_as` and
/// holds every capability there until the next `exec`.
pub(crate) fn enter(flags: UnshareFlags, appear_as: Appear) -> Result<(), LaunchError> {
    let user = rustix::process::geteuid().as_raw();
    let group = rustix::process::getegid().as_raw();
    #[expect(deprecated, reason = "unsafe only with CLONE_FILES, which no caller here gives")]
    rustix::thread::unshare(flags).step("enter namespaces")?;
    let (inner_user, inner_group) = match appear_as {
        Appear::Unchanged => (user, group),
        Appear::User(number) => (number, number),
    };
    // The kernel lets an ordinary user map groups only after this.
    fs::write("/proc/self/setgroups", "deny").step("give up supplementary groups")?;
    fs::write("/proc/self/uid_map", format!("{inner_user} {user} 1")).step("map the user")?;
    fs::write("/proc/self/gid_map", format!("{inner_group} {group} 1")).step("map the group")
}

/// Who this user is within a user namespace.
#[derive(Clone, Copy)]
pub(crate) enum Appear {
    /// The same number as outside.
    Unchanged,
    /// Another number, for the user and the group.
    User(u32),
}

/// Lets the second stage keep what it needs to set the sandbox up: an `exec` by anyone but user
/// 0 drops all capabilities that are not ambient.
pub(crate) fn keep_capabilities() -> Result<(), LaunchError> {
    let needed = CapabilitySet::SYS_ADMIN | CapabilitySet::SETPCAP;
    let mut sets = rustix::thread::capabilities(None).step("read capabilities")?;
    sets.inheritable |= needed;
    rustix::thread::set_capabilities(None, sets).step("pass capabilities on")?;
    for capability in needed.iter() {
        rustix::thread::configure_capability_in_ambient_set(capability, true)
            .step("pass capabilities on")?;
    }
    Ok(())
}

/// Brings the loopback of a fresh network namespace up, so that tests can talk to themselves.
/// One message of the kernel's routing interface (`man 7 rtnetlink`) does it without an ioctl.
pub(crate) fn loopback_up() -> Result<(), LaunchError> {
    const NEW_LINK: u16 = 16;
    const REQUEST_AND_ACK: u16 = 1 | 4;
    const LOOPBACK_INDEX: i32 = 1;
    const UP: u32 = 1;
    let mut message = Vec::with_capacity(32);
    message.extend_from_slice(&32_u32.to_ne_bytes());
    message.extend_from_slice(&NEW_LINK.to_ne_bytes());
    message.extend_from_slice(&REQUEST_AND_ACK.to_ne_bytes());
    message.extend_from_slice(&[0; 8]); // sequence number, sender
    message.extend_from_slice(&[0; 4]); // family, padding, device type
    message.extend_from_slice(&LOOPBACK_INDEX.to_ne_bytes());
    message.extend_from_slice(&UP.to_ne_bytes());
    message.extend_from_slice(&UP.to_ne_bytes()); // the flags that change
    let step = "bring the loopback up"; // protocol 0 of netlink is routing
    let kernel = SocketAddrNetlink::new(0, 0);
    let netlink = socket(AddressFamily::NETLINK, SocketType::RAW, None).step(step)?;
    sendto(&netlink, &message, SendFlags::empty(), &kernel).step(step)?;
    let mut answer = [0_u8; 64];
    let (length, _) = recv(&netlink, &mut answer[..], RecvFlags::empty()).step(step)?;
    // The answer is a header of 16 bytes and the negative error number, 0 on success.
    let code = answer[..length].get(16..20).and_then(|bytes| bytes.try_into().ok());
    match code.map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        code => Err(std::io::Error::from_raw_os_error(-code.unwrap_or(-5))).step(step),
    }
}
