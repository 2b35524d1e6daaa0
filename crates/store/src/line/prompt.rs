//! Small writes that go out at once.
//!
//! The driver (sqlx 0.9) leaves a TCP socket as the kernel makes it: a small write waits until the small one
//! before it is acknowledged, and a server may put that off for 40 ms. A statement is one write, and never
//! meets that; the end of a copy comes after its rows, and does. Must never: touch a descriptor that is not
//! a socket, since closing a second one of a file gives up the locks on it.

use std::net::TcpStream;
use std::{fs, io};

use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

/// Has the connection between these ports send at once; whether it was found among this process's.
pub(super) fn send_at_once(local: u16, remote: u16) -> io::Result<bool> {
    let this = pidfd_open(getpid(), PidfdFlags::empty())?;
    for entry in fs::read_dir("/proc/self/fd")? {
        let entry = entry?;
        let Ok(number) = entry.file_name().to_string_lossy().parse() else { continue };
        if !fs::read_link(entry.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"))
        {
            continue;
        }
        // It may be closed by now.
        let Ok(socket) = pidfd_getfd(&this, number, PidfdGetfdFlags::empty()) else { continue };
        let socket = TcpStream::from(socket);
        let is_between = socket.local_addr().is_ok_and(|address| address.port() == local)
            && socket.peer_addr().is_ok_and(|address| address.port() == remote);
        if is_between {
            socket.set_nodelay(true)?;
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_connection_is_found_by_its_ports_and_no_other_is_changed() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let (one, other) =
            (TcpStream::connect(address).unwrap(), TcpStream::connect(address).unwrap());
        let local = one.local_addr().unwrap().port();
        assert!(send_at_once(local, address.port()).unwrap());
        assert!(one.nodelay().unwrap() && !other.nodelay().unwrap());
        assert!(!send_at_once(local, local).unwrap());
    }
}
