//! Holding a program at one of its system calls: the kernel asks us before each of them, and it waits until we let it
//! go on (seccomp_unotify(2)). The unsafe code of this package is all here; who needs less than that is to use nix.

#![allow(unsafe_code)]

use std::{
    mem::{offset_of, zeroed},
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{
    errno::Errno,
    libc::{self, seccomp_data, seccomp_notif, seccomp_notif_resp, sock_filter, sock_fprog},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::prctl::set_no_new_privs,
};

/// `<linux/seccomp.h>`: SECCOMP_IOCTL_NOTIF_RECV and SECCOMP_IOCTL_NOTIF_SEND.
mod ioctl {
    use super::{seccomp_notif, seccomp_notif_resp};

    nix::ioctl_readwrite!(notif_recv, b'!', 0, seccomp_notif);
    nix::ioctl_readwrite!(notif_send, b'!', 1, seccomp_notif_resp);
}

/// Where the kernel tells of the calls.
#[derive(Debug)]
pub struct Listener(OwnedFd);

/// A thread waits in its call.
#[derive(Debug)]
pub struct Held(u64);

/// What a wait came to.
#[derive(Debug)]
pub enum Call {
    /// It has to be let go.
    Held(Held),
    /// Nothing yet.
    None,
    /// All processes that it was for have ended.
    Over,
}

/// Has all calls of this number held, of the calling thread and of what it starts from now on, for ever.
pub fn hold_calls_of_this_thread(number: libc::c_long) -> Result<Listener> {
    // The number is that of our own architecture: this is a brake and no sandbox.
    let load = u32::try_from(offset_of!(seccomp_data, nr))?;
    let step = |code: u32, (jt, jf), k| -> Result<_> { Ok(sock_filter { code: u16::try_from(code)?, jt, jf, k }) };
    let mut filter = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, (0, 0), load)?,
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, (0, 1), u32::try_from(number)?)?,
        step(libc::BPF_RET | libc::BPF_K, (0, 0), libc::SECCOMP_RET_USER_NOTIF)?,
        step(libc::BPF_RET | libc::BPF_K, (0, 0), libc::SECCOMP_RET_ALLOW)?,
    ];
    let program = sock_fprog { len: u16::try_from(filter.len())?, filter: filter.as_mut_ptr() };
    set_no_new_privs().context("giving up new privileges")?;
    let (mode, flags) = (libc::SECCOMP_SET_MODE_FILTER, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER);
    // SAFETY: the kernel copies the program, which lives until the call returns.
    let fd = unsafe { libc::syscall(libc::SYS_seccomp, mode, flags, &raw const program) };
    let fd = RawFd::try_from(Errno::result(fd).context("seccomp(2): holding system calls")?)?;
    // SAFETY: the descriptor is new and nobody else's.
    Ok(Listener(unsafe { OwnedFd::from_raw_fd(fd) }))
}

impl Listener {
    /// Waits for the next call that is held.
    pub fn wait(&self, timeout: Duration) -> Result<Call> {
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::try_from(timeout)?) {
            Ok(0) | Err(Errno::EINTR) => return Ok(Call::None),
            Ok(_) => {}
            Err(errno) => return Err(errno).context("waiting for a system call"),
        }
        let [fd] = fds;
        let seen = fd.revents().unwrap_or(PollFlags::empty());
        if !seen.contains(PollFlags::POLLIN) {
            if seen.contains(PollFlags::POLLHUP) {
                return Ok(Call::Over);
            }
            bail!("waiting for a system call: {seen:?}");
        }
        // SAFETY: all zero is a valid value of this plain structure, and what the kernel asks for.
        let mut notice: seccomp_notif = unsafe { zeroed() };
        // SAFETY: the descriptor is a listener, and the structure is the one of this ioctl.
        match unsafe { ioctl::notif_recv(self.0.as_raw_fd(), &raw mut notice) } {
            Ok(_) => Ok(Call::Held(Held(notice.id))),
            // Killed, or interrupted by a signal, before we came: it asks again if it lives.
            Err(Errno::ENOENT | Errno::EINTR) => Ok(Call::None),
            Err(errno) => Err(errno).context("taking a system call"),
        }
    }

    /// Lets the call go on.
    pub fn release(&self, held: Held) -> Result<()> {
        let flags = u32::try_from(libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE)?;
        let mut answer = seccomp_notif_resp { id: held.0, val: 0, error: 0, flags };
        loop {
            // SAFETY: the descriptor is a listener, and the structure is the one of this ioctl.
            match unsafe { ioctl::notif_send(self.0.as_raw_fd(), &raw mut answer) } {
                Err(Errno::EINTR) => {}
                // Killed or interrupted meanwhile.
                Ok(_) | Err(Errno::ENOENT) => return Ok(()),
                Err(errno) => return Err(errno).context("letting a system call go on"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{process::Command, thread, time::Instant};

    use super::*;

    /// A program whose one call of `getcwd` is held for 50 ms.
    #[test]
    fn a_call_waits_until_it_is_let_go_and_the_end_of_the_program_is_told() {
        let (listener, mut child) = thread::spawn(|| {
            let listener = hold_calls_of_this_thread(libc::SYS_getcwd).unwrap();
            (listener, Command::new("/bin/pwd").spawn().unwrap())
        })
        .join()
        .unwrap();
        let held = match listener.wait(Duration::from_secs(10)).unwrap() {
            Call::Held(held) => held,
            other => panic!("{other:?} instead of its call"),
        };
        let asked = Instant::now();
        assert!(matches!(listener.wait(Duration::from_millis(50)).unwrap(), Call::None));
        assert!(asked.elapsed() >= Duration::from_millis(50) && child.try_wait().unwrap().is_none());
        listener.release(held).unwrap();
        assert!(child.wait().unwrap().success());
        assert!(matches!(listener.wait(Duration::from_secs(10)).unwrap(), Call::Over));
    }
}
