//! One page of `memfd_secret` memory: the only `unsafe` code of the package.
//!
//! No kept crate has a safe interface for it: those for locked memory use `mlock`, which hides
//! nothing from root, and the one that knows `memfd_secret` hands out raw pointers.
#![allow(unsafe_code, reason = "memfd_secret has no safe interface; each block says why it is")]

use memmap2::{Advice, MmapMut, MmapOptions};
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use zeroize::Zeroize;

/// How much one page of secret memory holds: the smallest page of any machine.
pub(super) const PAGE_BYTES: usize = 4096;

/// A page that only this process maps, overwritten when dropped.
#[derive(Debug)]
pub(super) struct SecretPage(MmapMut);

impl SecretPage {
    /// A page of zeros.
    pub(super) fn zeros() -> io::Result<Self> {
        let file = secret_file()?;
        rustix::fs::ftruncate(&file, PAGE_BYTES as u64)?;
        let options = {
            let mut options = MmapOptions::new();
            options.len(PAGE_BYTES);
            options
        };
        // SAFETY: the mapped file must not be changed or shortened by others while it is mapped.
        // It has no name, its only descriptor is closed at the end of this function and was never
        // given away, and it is closed in children that run another program.
        let page = unsafe { options.map_mut(&file) }?;
        // A child that is forked would share the page.
        page.advise(Advice::DontFork)?;
        Ok(Self(page))
    }

    /// Its first bytes.
    pub(super) fn front<const N: usize>(&self) -> Option<&[u8; N]> {
        self.0.first_chunk()
    }

    /// Its first bytes.
    pub(super) fn front_mut<const N: usize>(&mut self) -> Option<&mut [u8; N]> {
        self.0.first_chunk_mut()
    }
}

impl Drop for SecretPage {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// A nameless file of secret memory.
fn secret_file() -> io::Result<OwnedFd> {
    // SAFETY: the call takes one number, touches no memory of ours and gives a descriptor or -1.
    let returned = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
    let Ok(number @ 0..) = RawFd::try_from(returned) else {
        return Err(io::Error::last_os_error());
    };
    // SAFETY: the kernel has just opened this descriptor for us, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
