//! Sending an alert over a socket whose TLS is in the kernel. The record type travels as ancillary data of a
//! kind that neither rustix nor nix can spell.

use std::io;
use std::mem;
use std::os::fd::AsRawFd;
use std::ptr;

use nix::libc;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// The record type of alerts (RFC 8446, 5.1).
const ALERT: u8 = 21;

/// `close_notify` at the level `warning` (RFC 8446, 6).
const CLOSE_NOTIFY: [u8; 2] = [1, 0];

/// The kernel's name for "this is the record type" (`linux/tls.h`).
const TLS_SET_RECORD_TYPE: libc::c_int = 1;

/// An ancillary message that holds a record type, laid out as the kernel reads it: header, then data, then
/// padding up to the alignment of the header.
#[repr(C)]
struct RecordType {
    header: libc::cmsghdr,
    value: u8,
}

/// Says that nothing follows.
pub(super) fn send_close_notify(socket: &TcpStream) -> io::Result<()> {
    socket.try_io(Interest::WRITABLE, || send(socket.as_raw_fd()))
}

fn send(socket: libc::c_int) -> io::Result<()> {
    let mut content = CLOSE_NOTIFY;
    let mut slice = libc::iovec { iov_base: content.as_mut_ptr().cast(), iov_len: content.len() };
    let mut record_type = RecordType {
        header: libc::cmsghdr {
            cmsg_len: (mem::offset_of!(RecordType, value) + 1) as _,
            cmsg_level: libc::SOL_TLS,
            cmsg_type: TLS_SET_RECORD_TYPE,
        },
        value: ALERT,
    };
    #[expect(unsafe_code, reason = "no safe wrapper knows this ancillary message")]
    // SAFETY: `msghdr` is plain data for which all zeros is a value. Its pointers are to locals that live
    // until the call returns, with their own lengths, and the call neither keeps nor writes through them.
    let sent = unsafe {
        let mut message: libc::msghdr = mem::zeroed();
        message.msg_iov = ptr::from_mut(&mut slice);
        message.msg_iovlen = 1;
        message.msg_control = ptr::from_mut(&mut record_type).cast();
        message.msg_controllen = mem::size_of::<RecordType>() as _;
        libc::sendmsg(socket, &message, libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT)
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
