use super::{
    COLLECTING_MAX, EARLY_SHARES_MAX, SIGNATURES_MAX, Share, SigningMessage, SigningOutcome,
    SigningTicket, ThresholdSigning,
};
use maftia_base::wire::Bytes;
use maftia_base::{Context, Fault, FaultKind, Party, PartySet, Target};
use maftia_crypto::{Suite, Work};
use std::collections::BTreeMap;

/// The shares for one signature.
#[derive(Clone, Debug, Hash)]
pub(super) struct Collection<S: Suite> {
    shares: BTreeMap<Party, (bool, Share<S>)>,
    /// A combination failed: only shares with proofs count now.
    proving: bool,
    /// Who was asked for a proof.
    asked: PartySet,
    /// Whose shares are being combined that came as proven ones; none if nothing is combined.
    combining: Option<PartySet>,
}

impl<S: Suite> ThresholdSigning<S> {
    /// Starts collecting at this position, which was just told. (T2)
    pub(super) fn collect(&mut self, position: u64, cx: &mut impl Context<Self>) {
        if !self.open_collection(position) {
            return cx.output(SigningOutcome::Unavailable { position });
        }
        let mut early = Vec::new();
        for (party, shares) in &mut self.early {
            early.extend(shares.remove(&position).map(|share| (*party, share)));
            // What lies below belongs to no position that this server collects.
            *shares = shares.split_off(&position);
        }
        let lossy: PartySet = self
            .overflowed
            .iter()
            .filter(|(party, upto)| **upto >= position && !early.iter().any(|(p, _)| p == *party))
            .map(|(party, _)| *party)
            .collect();
        for (party, (proven, share)) in early {
            self.on_share(party, position, proven, share, cx);
        }
        for party in lossy.iter() {
            cx.send(Target::One(party), SigningMessage::Want { position, proven: false });
        }
    }

    /// Starts collecting something older: everybody is asked. (T4)
    pub(super) fn collect_again(&mut self, position: u64, cx: &mut impl Context<Self>) {
        if let Some(signature) = self.signatures.get(&position) {
            let signature = signature.clone();
            return cx.output(SigningOutcome::Signed { position, signature });
        }
        if self.collections.contains_key(&position) {
            return;
        }
        if !self.recent.contains_key(&position) || !self.open_collection(position) {
            return cx.output(SigningOutcome::Unavailable { position });
        }
        cx.send(Target::All, SigningMessage::Want { position, proven: false });
    }

    fn open_collection(&mut self, position: u64) -> bool {
        if self.collections.len() >= COLLECTING_MAX {
            return false;
        }
        let empty = Collection {
            shares: BTreeMap::new(),
            proving: false,
            asked: PartySet::EMPTY,
            combining: None,
        };
        self.collections.entry(position).or_insert(empty);
        true
    }

    /// A peer's share. (T2, T3)
    pub(super) fn on_share(
        &mut self,
        from: Party,
        position: u64,
        proven: bool,
        share: Share<S>,
        cx: &mut impl Context<Self>,
    ) {
        let Some(collection) = self.collections.get_mut(&position) else {
            if position >= self.next {
                self.keep_early(from, position, proven, share);
            }
            return;
        };
        if self.bad.contains(from) {
            return;
        }
        let upgrade = proven && collection.shares.get(&from).is_some_and(|(proven, _)| !proven);
        if upgrade || !collection.shares.contains_key(&from) {
            collection.shares.insert(from, (proven, share));
            self.ask_for_proofs(position, cx);
            self.try_combine(position, cx);
        }
    }

    fn keep_early(&mut self, from: Party, position: u64, proven: bool, share: Share<S>) {
        let early = self.early.entry(from).or_default();
        early.insert(position, (proven, share));
        if early.len() > EARLY_SHARES_MAX {
            let (dropped, _) = early.pop_last().expect("just found too many");
            self.may_lack(from, dropped);
        }
    }

    /// Early shares of this peer may be missing, up to a position.
    pub(super) fn may_lack(&mut self, peer: Party, upto: u64) {
        let known = self.overflowed.entry(peer).or_default();
        *known = upto.max(*known);
    }

    /// Combines if the shares that count are qualified. (T2)
    fn try_combine(&mut self, position: u64, cx: &mut impl Context<Self>) {
        let (Some(collection), Some(recent)) =
            (self.collections.get_mut(&position), self.recent.get(&position))
        else {
            return;
        };
        if collection.combining.is_some() {
            return;
        }
        let proving = collection.proving;
        let bad = self.bad;
        let usable = || {
            let shares = collection.shares.iter();
            shares
                .filter(move |(party, (proven, _))| (*proven || !proving) && !bad.contains(**party))
        };
        if !cx.group().sharing().is_qualified(usable().map(|(party, _)| *party).collect()) {
            return;
        }
        let proven = usable().filter(|(_, (proven, _))| *proven).map(|(party, _)| *party).collect();
        let shares = usable().map(|(party, (_, share))| (*party, share.clone())).collect();
        collection.combining = Some(proven);
        let (key, input) = (recent.key, recent.input.clone());
        let work = Work::CombineSignature { key, input, shares };
        cx.offload(SigningTicket::Combine { position }, work);
    }

    pub(super) fn on_signature(
        &mut self,
        position: u64,
        signature: Bytes,
        faults: Vec<Fault>,
        cx: &mut impl Context<Self>,
    ) {
        faults.into_iter().for_each(|fault| self.blame(fault, cx));
        self.collections.remove(&position);
        self.signatures.insert(position, signature.clone());
        if self.signatures.len() > SIGNATURES_MAX {
            self.signatures.pop_first();
        }
        cx.output(SigningOutcome::Signed { position, signature });
    }

    /// Somebody's share is bad: finds out whose. (T3)
    pub(super) fn on_combination_failed(
        &mut self,
        position: u64,
        faults: Vec<Fault>,
        unproven: Vec<Party>,
        cx: &mut impl Context<Self>,
    ) {
        faults.into_iter().for_each(|fault| self.blame(fault, cx));
        let Some(collection) = self.collections.get_mut(&position) else { return };
        let claimed = collection.combining.take().unwrap_or_default();
        collection.proving = true;
        // It was asked for a proof, said that it sent one, and did not.
        let liars: Vec<_> = unproven.into_iter().filter(|party| claimed.contains(*party)).collect();
        for liar in liars {
            self.blame(Fault::suspected(liar, FaultKind::BadShare), cx);
        }
        self.ask_for_proofs(position, cx);
        self.try_combine(position, cx);
    }

    fn ask_for_proofs(&mut self, position: u64, cx: &mut impl Context<Self>) {
        let Some(collection) = self.collections.get_mut(&position) else { return };
        if !collection.proving {
            return;
        }
        for (party, (proven, _)) in &collection.shares {
            if !proven && !self.bad.contains(*party) && collection.asked.insert(*party) {
                cx.send(Target::One(*party), SigningMessage::Want { position, proven: true });
            }
        }
    }

    /// Asks `peer` for the shares that are still needed of it. (T5)
    pub(super) fn ask_for_missing(&mut self, peer: Party, cx: &mut impl Context<Self>) {
        for (position, collection) in &self.collections {
            let position = *position;
            match collection.shares.get(&peer) {
                None => {
                    cx.send(Target::One(peer), SigningMessage::Want { position, proven: false });
                }
                Some((false, _)) if collection.proving => {
                    cx.send(Target::One(peer), SigningMessage::Want { position, proven: true });
                }
                Some(_) => {}
            }
        }
    }
}
