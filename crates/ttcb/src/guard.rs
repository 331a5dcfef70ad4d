//! The key guard of a host: which of the back ends of `maftia-guard`, and with what settings.
//!
//! Only a process of its own ever opens one (see `certify`): what a back end leaves behind is not
//! in the daemon that serves. Secrets stand in files that nobody but the daemon's user can read,
//! never in the configuration or on a command line.

use crate::Fatal;
use crate::settings::{ConfigError, Entry, Section};
#[cfg(any(feature = "tpm2", feature = "pkcs11", feature = "card"))]
use maftia_guard::read_secret;
use maftia_guard::{FileGuard, GuardError, KeyGuard, Memory, file};
use std::path::PathBuf;

/// Which guard, and its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuardConfig {
    /// A key in a sealed file.
    File {
        /// The sealed file.
        file: PathBuf,
        /// The high-water mark, best on another disk.
        mark: PathBuf,
        /// What it is sealed with.
        sealed_with: SealedWith,
        /// Where its secrets may lie.
        memory: Memory,
    },
    /// A key that is sealed to a TPM 2.0.
    Tpm2 {
        /// How the TPM is reached.
        tcti: String,
        /// The file of the owner's authorization; empty if there is none.
        owner: Option<PathBuf>,
        /// The sealed key.
        file: PathBuf,
        /// The index of the TPM's counter.
        counter: u32,
        /// The registers that the key is sealed to.
        pcrs: Vec<u8>,
        /// Where its secrets may lie.
        memory: Memory,
    },
    /// A key in a PKCS #11 token.
    Pkcs11 {
        /// The token's library.
        module: PathBuf,
        /// The token's label.
        token: String,
        /// The file of the PIN.
        pin: PathBuf,
        /// The file beside which the lock is kept.
        lock: PathBuf,
    },
    /// A key in a smart card.
    Card {
        /// The reader; none: the first whose card has the applet.
        reader: Option<String>,
        /// The file of the PIN.
        pin: PathBuf,
    },
}

/// What a file is sealed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SealedWith {
    /// The passphrase in this file.
    Passphrase(PathBuf),
    /// The random bytes of this file.
    KeyFile(PathBuf),
}

/// What is to be done with a guard's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// It is there.
    Open,
    /// It is made now.
    Make,
}

const RIGHT: &str = "a table such as { kind = \"file\", file = \"guard.seed\", mark = \
                     \"guard.mark\", key_file = \"guard.key\" }";

impl GuardConfig {
    /// Reads the table.
    pub(crate) fn read(top: &Section<'_>) -> Result<Self, ConfigError> {
        let table = top.get("guard", RIGHT)?.section()?;
        let right = "the kind of guard: \"file\", \"tpm2\", \"pkcs11\" or \"card\"";
        let kind = table.get("kind", right)?;
        match kind.text(right)? {
            "file" => Self::read_file(&table),
            "tpm2" => Self::read_tpm2(&table),
            "pkcs11" => {
                table.only(&["kind", "module", "token", "pin_file", "lock"])?;
                Ok(Self::Pkcs11 {
                    module: table.get("module", "the path of the token's library")?.path()?,
                    token: text(&table.get("token", "the label of the token")?)?,
                    pin: pin(&table)?,
                    lock: table.get("lock", "the path of a file, for a lock beside it")?.path()?,
                })
            }
            "card" => {
                table.only(&["kind", "reader", "pin_file"])?;
                let reader = table.find("reader").map(|entry| text(&entry)).transpose()?;
                Ok(Self::Card { reader, pin: pin(&table)? })
            }
            other => Err(kind.wrong(format!("\"{other}\" is no guard; it wants {right}"))),
        }
    }

    fn read_file(table: &Section<'_>) -> Result<Self, ConfigError> {
        table.only(&["kind", "file", "mark", "key_file", "passphrase_file", "memory"])?;
        let sealed_with = match (table.find("key_file"), table.find("passphrase_file")) {
            (Some(key), None) => SealedWith::KeyFile(key.path()?),
            (None, Some(passphrase)) => SealedWith::Passphrase(passphrase.path()?),
            _ => {
                let what = "it wants either `key_file` or `passphrase_file`".into();
                return Err(table.wrong("key_file", what));
            }
        };
        Ok(Self::File {
            file: table.get("file", "the path of the sealed file")?.path()?,
            mark: table.get("mark", "the path of the high-water mark")?.path()?,
            sealed_with,
            memory: memory(table)?,
        })
    }

    fn read_tpm2(table: &Section<'_>) -> Result<Self, ConfigError> {
        table.only(&["kind", "tcti", "owner_file", "file", "counter", "pcrs", "memory"])?;
        let right = "a list of registers, such as [0, 2, 4, 7]";
        let pcrs = table.get("pcrs", right)?.list(right)?;
        Ok(Self::Tpm2 {
            tcti: text(&table.get("tcti", "how to reach it, such as \"device:/dev/tpmrm0\"")?)?,
            owner: table.find("owner_file").map(|entry| entry.path()).transpose()?,
            file: table.get("file", "the path of the sealed key")?.path()?,
            counter: table
                .get("counter", "the index of a counter, such as 0x0180_4d41")?
                .integer(0x0180_0000..=0x01bf_ffff)?,
            pcrs: pcrs.iter().map(|entry| entry.integer(0..=23)).collect::<Result<_, _>>()?,
            memory: memory(table)?,
        })
    }

    /// As the configuration calls it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::File { .. } => "file",
            Self::Tpm2 { .. } => "tpm2",
            Self::Pkcs11 { .. } => "pkcs11",
            Self::Card { .. } => "card",
        }
    }

    /// Opens the guard, or makes its key first. A card has its key from whoever made it.
    pub(crate) fn reach(&self, way: Way) -> Result<Box<dyn KeyGuard>, Fatal> {
        self.back_end(way).map_err(|trouble| match trouble {
            Trouble::Guard(error) => Fatal(format!("the key guard \"{}\": {error}", self.kind())),
            Trouble::NotBuilt => Fatal(format!(
                "this program was built without the key guard \"{0}\": build it with \
                 --features {0}",
                self.kind()
            )),
        })
    }

    fn back_end(&self, way: Way) -> Result<Box<dyn KeyGuard>, Trouble> {
        match self {
            Self::File { file, mark, sealed_with, memory } => {
                let (file, mark) = (file.clone(), mark.clone());
                let places = file::Places { file, mark, memory: *memory };
                let unlock = sealed_with.unlock(way)?;
                Ok(Box::new(match way {
                    Way::Open => FileGuard::open(places, &unlock)?,
                    Way::Make => FileGuard::create(places, &unlock)?,
                }))
            }
            #[cfg(feature = "tpm2")]
            Self::Tpm2 { tcti, owner, file, counter, pcrs, memory } => {
                use maftia_guard::tpm::{Settings, TpmGuard};
                let settings = Settings {
                    tcti: tcti.clone(),
                    owner: owner.as_deref().map_or_else(|| Ok(Default::default()), read_secret)?,
                    file: file.clone(),
                    counter: *counter,
                    pcrs: pcrs.clone(),
                    memory: *memory,
                };
                Ok(Box::new(match way {
                    Way::Open => TpmGuard::open(&settings)?,
                    Way::Make => TpmGuard::create(&settings)?,
                }))
            }
            #[cfg(feature = "pkcs11")]
            Self::Pkcs11 { module, token, pin, lock } => {
                use maftia_guard::pkcs11::{Settings, TokenGuard};
                let bytes = read_secret(pin)?;
                let text = std::str::from_utf8(&bytes);
                let text = text.map_err(|_| GuardError::NotThis {
                    path: pin.clone(),
                    what: "file with a PIN in UTF-8",
                })?;
                let settings = Settings {
                    module: module.clone(),
                    token: token.clone(),
                    pin: text.to_owned().into(),
                    lock: lock.clone(),
                };
                Ok(Box::new(match way {
                    Way::Open => TokenGuard::open(&settings)?,
                    Way::Make => TokenGuard::create(&settings)?,
                }))
            }
            #[cfg(feature = "card")]
            Self::Card { reader, pin } => {
                use maftia_guard::card::{CardGuard, Settings};
                let settings = Settings { reader: reader.clone(), pin: read_secret(pin)? };
                Ok(Box::new(CardGuard::open(&settings)?))
            }
            #[cfg(not(all(feature = "tpm2", feature = "pkcs11", feature = "card")))]
            _ => Err(Trouble::NotBuilt),
        }
    }
}

impl SealedWith {
    /// A key file that is not there when a guard is made is drawn then.
    fn unlock(&self, way: Way) -> Result<file::Unlock, GuardError> {
        match self {
            Self::Passphrase(path) => maftia_guard::read_secret(path).map(file::Unlock::Passphrase),
            Self::KeyFile(path) if way == Way::Make && !path.exists() => {
                file::Unlock::draw(path.clone())
            }
            Self::KeyFile(path) => Ok(file::Unlock::KeyFile(path.clone())),
        }
    }
}

/// Why there is no guard.
enum Trouble {
    Guard(GuardError),
    #[cfg_attr(all(feature = "tpm2", feature = "pkcs11", feature = "card"), expect(dead_code))]
    NotBuilt,
}

impl From<GuardError> for Trouble {
    fn from(error: GuardError) -> Self {
        Self::Guard(error)
    }
}

fn text(entry: &Entry<'_>) -> Result<String, ConfigError> {
    entry.text("a text").map(str::to_owned)
}

fn pin(table: &Section<'_>) -> Result<PathBuf, ConfigError> {
    table.get("pin_file", "the path of a file, of mode 600, that holds the PIN")?.path()
}

fn memory(table: &Section<'_>) -> Result<Memory, ConfigError> {
    let Some(entry) = table.find("memory") else { return Ok(Memory::Secret) };
    let right = "\"secret\", or \"ordinary\" where the kernel has no secret memory";
    match entry.text(right)? {
        "secret" => Ok(Memory::Secret),
        "ordinary" => Ok(Memory::Ordinary),
        other => Err(entry.wrong(format!("\"{other}\" is not {right}"))),
    }
}
