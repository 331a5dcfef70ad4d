//! One coin, which all honest servers toss.

use super::{LIAR, Model, liars_share};
use crate::protocols::short;
use crate::world::{DrillSuite, Shape};
use maftia_agreement::coin::{Command, CommonCoin, Message, Outcome};
use maftia_base::Party;
use maftia_crypto::{Corrupt, IdealSuite};

/// The liar has its good share, a bad one, and that of another coin.
pub(super) fn coin() -> Model<CommonCoin<IdealSuite>> {
    let groups = Shape::Four.groups(0);
    let keyrings = IdealSuite::keyrings(Shape::Four);
    let scope = groups[0].scope();
    let words = vec![
        Message::Share(liars_share(scope)),
        Message::Share(IdealSuite::bad_coin_share(&keyrings[LIAR], scope)),
        Message::Share(liars_share(scope.child("other", 0))),
    ];
    Model {
        name: "coin",
        groups,
        keyrings,
        liar: Party::new(LIAR),
        make: |_| CommonCoin::new(),
        orders: |_| vec![Command::Toss],
        reply: |_| None,
        fact: |Outcome::Tossed(value, _)| Some(short(value)),
        allows: |_| true,
        must_end: true,
        all_or_none: true,
        is_beyond: |_| false,
        lies: Box::new(move |_| words.clone()),
        // Proofs name those whose shares they are made of, in their order.
        renamings: Vec::new(),
    }
}
