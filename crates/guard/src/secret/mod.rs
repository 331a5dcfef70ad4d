//! Memory for the secrets of an open guard.
//!
//! `memfd_secret` (Linux 5.14) gives pages that only this process maps: the kernel takes them out
//! of its own map, never writes them to swap or to a core file, and does not hibernate while they
//! exist. Nobody reads them through `/proc` or by ptrace's reading of memory, not even root, and an
//! image of kernel memory does not show them. It is no help against code in this process, nor
//! against who may put some there, as root may with ptrace unless the process forbids it, nor
//! against a kernel that was changed. While something is signed, a copy of the key is on the stack
//! and in registers, where it is overwritten afterwards.

mod kernel;

use crate::error::GuardError;
use kernel::SecretPage;
use std::fmt;
use zeroize::Zeroizing;

/// Where the secrets of an open guard may lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Memory {
    /// In memory of `memfd_secret`; a guard does not open if the kernel refuses it.
    #[default]
    Secret,
    /// In ordinary memory, overwritten when the guard is closed: for kernels without secret memory.
    /// It may be swapped out, and root reads it.
    Ordinary,
}

/// `N` secret bytes, overwritten when dropped.
pub(crate) struct Secret<const N: usize>(Place<N>);

enum Place<const N: usize> {
    Page(SecretPage),
    Heap(Box<Zeroizing<[u8; N]>>),
}

impl<const N: usize> Secret<N> {
    /// Zeros, to be filled in place.
    pub(crate) fn zeros(memory: Memory) -> Result<Self, GuardError> {
        const { assert!(N <= kernel::PAGE_BYTES) };
        Ok(Self(match memory {
            Memory::Secret => Place::Page(SecretPage::zeros().map_err(GuardError::NoSecretMemory)?),
            Memory::Ordinary => Place::Heap(Box::new(Zeroizing::new([0; N]))),
        }))
    }

    /// The bytes.
    pub(crate) fn expose(&self) -> &[u8; N] {
        match &self.0 {
            Place::Page(page) => page.front().expect("a page is longer than the secrets in it"),
            Place::Heap(bytes) => bytes,
        }
    }

    /// The bytes, to be filled.
    pub(crate) fn expose_mut(&mut self) -> &mut [u8; N] {
        match &mut self.0 {
            Place::Page(page) => page.front_mut().expect("a page is longer than the secrets in it"),
            Place::Heap(bytes) => bytes,
        }
    }
}

impl<const N: usize> fmt::Debug for Secret<N> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read, Seek, SeekFrom};

    /// What `/proc` shows of the memory of this process at that place.
    fn seen_from_outside(address: usize) -> std::io::Result<[u8; 32]> {
        let mut memory = File::open("/proc/self/mem")?;
        memory.seek(SeekFrom::Start(address as u64))?;
        let mut bytes = [0; 32];
        memory.read_exact(&mut bytes).map(|()| bytes)
    }

    #[test]
    fn secret_memory_cannot_be_read_through_proc_and_ordinary_memory_can() {
        let address = |secret: &Secret<32>| secret.expose().as_ptr().addr();
        let mut hidden = Secret::<32>::zeros(Memory::Secret).unwrap();
        hidden.expose_mut().fill(7);
        assert_eq!(hidden.expose(), &[7; 32]);
        assert!(seen_from_outside(address(&hidden)).is_err());
        let mut plain = Secret::<32>::zeros(Memory::Ordinary).unwrap();
        plain.expose_mut().fill(7);
        assert_eq!(seen_from_outside(address(&plain)).unwrap(), [7; 32]);
    }

    #[test]
    fn a_secret_is_not_printed() {
        let secret = Secret::<32>::zeros(Memory::Ordinary).unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(..)");
    }
}
