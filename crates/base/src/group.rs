use crate::wire::wire_struct;
use crate::{AdversaryStructure, Digest, Formula, Party, PartySet, Scope};
use std::sync::Arc;

/// Version of every format that crosses a process boundary. Bound into every [`Scope`].
pub const WIRE_VERSION: u16 = 1;

/// Name of a group: the digest of its configuration and public keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct GroupId(pub Digest);

/// One reign of one membership and one set of keys; counts up from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch(pub u64);

/// One service of a group: keys, quotas, sessions and snapshots are per service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ServiceId(pub u16);

wire_struct!(GroupId { 0 });
wire_struct!(Epoch { 0 });
wire_struct!(ServiceId { 0 });

/// A group in one epoch, as one of its servers sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Group {
    id: GroupId,
    epoch: Epoch,
    me: Party,
    structure: Arc<AdversaryStructure>,
    sharing: Arc<Formula>,
    founding: Option<Digest>,
}

impl Group {
    /// `me` must be a party of `structure`. Secrets are shared by the exact formula.
    pub fn new(id: GroupId, epoch: Epoch, me: Party, structure: AdversaryStructure) -> Self {
        assert!(me.index() < structure.n(), "this server is one of its group");
        let sharing = Arc::new(Formula::exact(&structure));
        Self { id, epoch, me, structure: Arc::new(structure), sharing, founding: None }
    }

    /// The group as one ceremony founded it, in the hybrid configuration: nothing that its servers
    /// say among themselves under another founding counts, though the keys are the same. To clients
    /// all foundings are one group.
    #[must_use]
    pub fn founded(self, founding: Digest) -> Self {
        Self { founding: Some(founding), ..self }
    }

    /// What [`founded`](Self::founded) was told, if anything.
    pub fn founding(&self) -> Option<Digest> {
        self.founding
    }

    /// Secrets are shared by `sharing`, which the caller has checked against the structure.
    pub fn with_sharing(self, sharing: Formula) -> Self {
        Self { sharing: Arc::new(sharing), ..self }
    }

    /// Which sets can combine shares.
    pub fn sharing(&self) -> &Formula {
        &self.sharing
    }

    /// The group's name.
    pub fn id(&self) -> GroupId {
        self.id
    }

    /// The epoch.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// This server.
    pub fn me(&self) -> Party {
        self.me
    }

    /// Number of servers.
    pub fn n(&self) -> usize {
        self.structure.n()
    }

    /// All servers.
    pub fn parties(&self) -> PartySet {
        PartySet::all(self.n())
    }

    /// All servers but this one.
    pub fn others(&self) -> PartySet {
        let mut others = self.parties();
        others.remove(self.me);
        others
    }

    /// Which sets may be corrupt, with the quorum questions.
    pub fn structure(&self) -> &AdversaryStructure {
        &self.structure
    }

    /// The same group and server in another epoch.
    pub fn in_epoch(&self, epoch: Epoch) -> Self {
        Self { epoch, ..self.clone() }
    }

    /// The root of all scopes of this epoch: binds wire version, group, epoch and founding.
    pub fn scope(&self) -> Scope {
        let root = Scope::root(self.id, self.epoch);
        self.founding.map_or(root, |founding| root.founded(founding))
    }
}
