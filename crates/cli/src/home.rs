//! A server's home folder: what the dealer puts there, and what the server reads.

use crate::Failure;
use crate::config::{self, GroupConfig};
use maftia_base::{Group, GroupId};
use maftia_crypto::{GroupKeys, KeyId, RealKeyring, ServerKeys};
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The configuration.
pub const CONFIG: &str = "group.toml";
/// The public keys.
pub const KEYS: &str = "group.keys";
/// The notary's certificate.
pub const CERTIFICATE: &str = "notary.pem";
/// The server's secret share.
pub const SHARE: &str = "server.share";
/// The journal.
pub const JOURNAL: &str = "journal";
/// Says that there is a journal: a server whose journal is gone does not begin another.
pub const BEGUN: &str = "journal.begun";

/// Says that the journal was declared lost: see `maftia repair`.
pub const LOST: &str = "journal.lost";

/// The notary's key among the group's threshold keys.
pub const NOTARY_KEY: KeyId = KeyId(1);

/// What is public of a group: the same in every home folder.
#[derive(Debug)]
pub struct PublicHome {
    /// The checked configuration.
    pub config: GroupConfig,
    /// The public keys, which belong to the configuration.
    pub keys: GroupKeys,
    /// The notary's certificate, in PEM.
    pub certificate: String,
}

impl PublicHome {
    /// Reads the public part of the folder.
    pub fn load(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join(CONFIG);
        let config = config::load(&path)?;
        let keys_path = folder.join(KEYS);
        let keys = GroupKeys::from_file(&read(&keys_path)?)
            .map_err(|error| Failure::file(&keys_path, "is refused", &error))?;
        if keys.context() != config.context() {
            return Err(Failure::because(format!(
                "{} and {} do not belong together: the keys were dealt for another name, list of \
                 servers, fault assumption or notary. Right would be: the group.toml that `maftia \
                 deal` was given (addresses may differ), or keys dealt anew",
                path.display(),
                keys_path.display()
            )));
        }
        let path = folder.join(CERTIFICATE);
        let certificate = fs::read_to_string(&path)
            .map_err(|error| Failure::file(&path, "cannot be read", &error))?;
        Ok(Self { config, keys, certificate })
    }
}

/// Keeps every other server and `maftia repair` off a home folder while it lives, and no longer
/// than the process.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "the lock is the open file")] File);

impl Lock {
    /// Takes the lock on `folder`, or says that somebody has it.
    pub fn take(folder: &Path) -> Result<Self, Failure> {
        let file =
            File::open(folder).map_err(|error| Failure::file(folder, "cannot be read", &error))?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(Failure::file(
                folder,
                "is in use",
                &"its server runs, or `maftia repair` works on it. Stop that first, and keep the \
                  supervisor from starting the server again meanwhile",
            )),
            Err(TryLockError::Error(error)) => {
                Err(Failure::file(folder, "cannot be locked", &error))
            }
        }
    }
}

/// A server's whole home folder.
#[derive(Debug)]
pub struct Home {
    /// Where it is.
    pub folder: PathBuf,
    /// The public part.
    pub public: PublicHome,
    /// The server's keys, which belong to the public ones.
    pub keyring: RealKeyring,
    /// The group as the server sees it.
    pub group: Group,
}

impl Home {
    /// Reads and checks everything; nothing is started.
    pub fn load(folder: &Path, passphrase: Option<&[u8]>) -> Result<Self, Failure> {
        let public = PublicHome::load(folder)?;
        let path = folder.join(SHARE);
        let file = Zeroizing::new(read_secret(&path)?);
        let share = ServerKeys::from_file(&file, passphrase)
            .map_err(|error| Failure::file(&path, "is refused", &error))?;
        let me = share.party();
        let keyring = RealKeyring::new(public.keys.clone(), share)
            .map_err(|error| Failure::file(&path, "is refused", &error))?;
        let id = GroupId(public.keys.digest());
        let group = Group::new(id, public.keys.epoch(), me, public.config.structure.clone())
            .with_sharing(public.keys.sharing().clone());
        Ok(Self { folder: folder.to_owned(), public, keyring, group })
    }

    /// The server's name.
    pub fn name(&self) -> &str {
        &self.public.config.servers[self.group.me().index()].name
    }
}

/// The first line of a passphrase file.
pub fn passphrase(path: Option<&Path>) -> Result<Option<Zeroizing<Vec<u8>>>, Failure> {
    let Some(path) = path else { return Ok(None) };
    let file = Zeroizing::new(read(path)?);
    let line = file.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() {
        return Err(Failure::file(path, "is refused", &"its first line, the passphrase, is empty"));
    }
    Ok(Some(Zeroizing::new(line.to_vec())))
}

/// A file that nobody but its owner may read.
pub(crate) fn read_secret(path: &Path) -> Result<Vec<u8>, Failure> {
    let contents = read(path)?;
    check_mode(path)?;
    Ok(contents)
}

/// A file, whole.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| Failure::file(path, "cannot be read", &error))
}

/// A share that others on the host can read is a share that others have.
pub(crate) fn check_mode(path: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(path)
        .map_err(|error| Failure::file(path, "cannot be looked at", &error))?
        .permissions()
        .mode();
    if mode & 0o077 != 0 {
        let problem = format!("its mode is {:o}; right would be 600 (chmod 600)", mode & 0o777);
        return Err(Failure::file(path, "can be read by others", &problem));
    }
    Ok(())
}
