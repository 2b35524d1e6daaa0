//! Reads `/proc/self/mountinfo` (`man 5 proc_pid_mountinfo`).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use rustix::mount::MountFlags;

/// Every mount point with its flags, in the order of the table: a later one covers an earlier.
pub(super) fn parse(table: &[u8]) -> Vec<(PathBuf, MountFlags)> {
    table.split(|byte| *byte == b'\n').filter_map(line).collect()
}

fn line(line: &[u8]) -> Option<(PathBuf, MountFlags)> {
    let mut fields = line.split(|byte| *byte == b' ').skip(4);
    let path = PathBuf::from(OsString::from_vec(unescape(fields.next()?)));
    // A remount must repeat the flags that are set, or the kernel refuses it.
    let flags = fields.next()?.split(|byte| *byte == b',').map(|option| match option {
        b"nosuid" => MountFlags::NOSUID,
        b"nodev" => MountFlags::NODEV,
        b"noexec" => MountFlags::NOEXEC,
        b"noatime" => MountFlags::NOATIME,
        b"nodiratime" => MountFlags::NODIRATIME,
        b"relatime" => MountFlags::RELATIME,
        _ => MountFlags::empty(),
    });
    Some((path, flags.fold(MountFlags::empty(), MountFlags::union)))
}

/// Space, tab, line feed and backslash stand as three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if first == b'\\' => {
                plain.push(byte);
                rest = &after[3..];
            }
            Some(_) | None => {
                plain.push(first);
                rest = after;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unescaped_and_flags_kept() {
        let table = b"36 35 98:0 /mnt1 /mnt/a\\040\\134b rw,nosuid,noatime master:1 - ext3 x rw\n\
                      37 35 0:5 / /dev\xff rw,relatime - devtmpfs x rw\n";
        let parsed = parse(table);
        let expected = [
            (PathBuf::from("/mnt/a \\b"), MountFlags::NOSUID | MountFlags::NOATIME),
            (PathBuf::from(OsString::from_vec(b"/dev\xff".to_vec())), MountFlags::RELATIME),
        ];
        assert_eq!(parsed, expected);
    }
}
