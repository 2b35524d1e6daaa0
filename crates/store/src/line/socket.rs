//! Options of the TCP sockets below connections, which the driver (sqlx 0.9) leaves as the kernel makes them.
//!
//! A small write waits until the small one before it is acknowledged, and a server may put that off for 40 ms. A
//! statement is one write, and never meets that; the end of a copy comes after its rows, and does. And who waits for
//! the answer of a machine that is gone, waits for ever. Must never: touch a descriptor that is not a socket, since
//! closing a second one of a file gives up the locks on it.

use std::net::TcpStream;
use std::time::Duration;
use std::{fs, io};

use rustix::net::sockopt;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

/// A server's machine that says nothing for so long is gone.
const GONE_AFTER: Duration = Duration::from_secs(30);
/// How long a connection is silent before it is asked for a sign of life, and how long between two.
const ASK_AFTER: Duration = Duration::from_secs(10);
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(5);
const ASK_TIMES: u32 = 4;

/// Has the connection between these ports send at once; whether it was found among this process's.
pub(super) fn send_at_once(local: u16, remote: u16) -> io::Result<bool> {
    let mut is_found = false;
    each_to(remote, |socket| {
        if socket.local_addr()?.port() == local {
            socket.set_nodelay(true)?;
            is_found = true;
        }
        Ok(())
    })?;
    Ok(is_found)
}

/// Has all connections to this port fail where their server's machine is gone: within half a minute, whether they send
/// or wait. A server that thinks for longer is not gone: its machine answers.
pub(crate) fn fail_when_gone(remote: u16) -> io::Result<()> {
    let gone_after_ms = u32::try_from(GONE_AFTER.as_millis()).unwrap_or(u32::MAX);
    each_to(remote, |socket| {
        sockopt::set_socket_keepalive(socket, true)?;
        sockopt::set_tcp_keepidle(socket, ASK_AFTER)?;
        sockopt::set_tcp_keepintvl(socket, ASK_AGAIN_AFTER)?;
        sockopt::set_tcp_keepcnt(socket, ASK_TIMES)?;
        sockopt::set_tcp_user_timeout(socket, gone_after_ms)?;
        Ok(())
    })
}

/// Does this with each of this process's TCP sockets that is connected to this port.
fn each_to(remote: u16, mut act: impl FnMut(&TcpStream) -> io::Result<()>) -> io::Result<()> {
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
        if socket.peer_addr().is_ok_and(|address| address.port() == remote) {
            act(&socket)?;
        }
    }
    Ok(())
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

    #[test]
    fn connections_to_the_server_notice_that_it_is_gone() {
        let [server, another] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let port = server.local_addr().unwrap().port();
        let connection = TcpStream::connect(server.local_addr().unwrap()).unwrap();
        let foreign = TcpStream::connect(another.local_addr().unwrap()).unwrap();
        fail_when_gone(port).unwrap();
        assert!(sockopt::socket_keepalive(&connection).unwrap());
        assert_eq!(sockopt::tcp_keepidle(&connection).unwrap(), ASK_AFTER);
        assert_eq!(sockopt::tcp_user_timeout(&connection).unwrap(), 30_000);
        assert!(!sockopt::socket_keepalive(&foreign).unwrap());
    }
}
