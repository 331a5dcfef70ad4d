//! Formulas on the wire: nodes in depth-first order.

use maftia_base::wire::{Error, List, wire_enum};
use maftia_base::{Formula, LEAVES_MAX, Party};

/// Deepest nesting of gates; bounds the recursion of everything that walks a formula.
pub(crate) const DEPTH_MAX: usize = 16;

/// Most nodes: every gate has a child, and chains of single children are bounded by the depth.
const NODES_MAX: usize = 4 * LEAVES_MAX;

/// One node of a formula.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    /// A party's part.
    Leaf(Party),
    /// A gate, and how many of the sub-formulas that follow are its children.
    Gate {
        /// How many children must be satisfied.
        threshold: u16,
        /// How many there are.
        children: u16,
    },
}

wire_enum!(Node { 0 => Leaf(party), 1 => Gate { threshold, children } });

/// A formula, flattened.
pub(crate) type Nodes = List<Node, NODES_MAX>;

/// Flattens `formula`; `None` if it is too large or too deep to be sent.
pub(crate) fn flatten(formula: &Formula) -> Option<Nodes> {
    let mut nodes = Vec::new();
    push(formula, 0, &mut nodes)?;
    Nodes::new(nodes)
}

fn push(formula: &Formula, depth: usize, nodes: &mut Vec<Node>) -> Option<()> {
    if depth > DEPTH_MAX {
        return None;
    }
    match formula {
        Formula::Leaf(party) => nodes.push(Node::Leaf(*party)),
        Formula::Gate { threshold, children } => {
            let threshold = u16::try_from(*threshold).ok()?;
            let count = u16::try_from(children.len()).ok()?;
            nodes.push(Node::Gate { threshold, children: count });
            children.iter().try_for_each(|child| push(child, depth + 1, nodes))?;
        }
    }
    Some(())
}

/// The formula that `nodes` describe, whole gates only.
pub(crate) fn unflatten(nodes: &Nodes) -> Result<Formula, Error> {
    let mut rest = nodes.iter();
    let formula = pull(&mut rest, 0)?;
    match rest.next() {
        None => Ok(formula),
        Some(_) => Err(Error::Invalid("Formula", "nodes follow the last gate")),
    }
}

fn pull<'a>(rest: &mut impl Iterator<Item = &'a Node>, depth: usize) -> Result<Formula, Error> {
    if depth > DEPTH_MAX {
        return Err(Error::Invalid("Formula", "gates nest too deeply"));
    }
    match rest.next() {
        None => Err(Error::Invalid("Formula", "a gate lacks children")),
        Some(Node::Leaf(party)) => Ok(Formula::Leaf(*party)),
        Some(Node::Gate { threshold, children }) => {
            let threshold = usize::from(*threshold);
            if threshold == 0 || threshold > usize::from(*children) {
                return Err(Error::Invalid("Formula", "a gate asks for none or too many"));
            }
            let children =
                (0..*children).map(|_| pull(rest, depth + 1)).collect::<Result<_, _>>()?;
            Ok(Formula::Gate { threshold, children })
        }
    }
}
