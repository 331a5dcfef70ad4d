//! A Merkle tree over a known number of leaves.
//!
//! Its shape follows from the number of leaves alone: each level pairs neighbours, and a last one
//! without neighbour moves up unchanged. Leaves and nodes are hashed under different domains, and
//! whoever commits to a root commits to the number of leaves with it; so a path proves one leaf at
//! one position and nothing else.

use maftia_base::Digest;

/// All levels, from the leaves to the root alone.
pub(super) struct Tree {
    levels: Vec<Vec<Digest>>,
}

pub(super) fn leaf(bytes: &[u8]) -> Digest {
    Digest::of("maftia coded piece", bytes)
}

fn node(left: &Digest, right: &Digest) -> Digest {
    let mut both = [0; 64];
    both[..32].copy_from_slice(&left.0);
    both[32..].copy_from_slice(&right.0);
    Digest::of("maftia coded node", &both)
}

impl Tree {
    /// Over at least one leaf.
    pub(super) fn new(leaves: Vec<Digest>) -> Self {
        assert!(!leaves.is_empty(), "a tree has a leaf");
        let mut levels = vec![leaves];
        while let Some(last) = levels.last().filter(|last| last.len() > 1) {
            let pair = |pair: &[Digest]| match pair {
                [left, right] => node(left, right),
                alone => alone[0],
            };
            levels.push(last.chunks(2).map(pair).collect());
        }
        Self { levels }
    }

    pub(super) fn root(&self) -> Digest {
        self.levels[self.levels.len() - 1][0]
    }

    /// The neighbours on the way from leaf `index` to the root.
    pub(super) fn path(&self, mut index: usize) -> Vec<Digest> {
        let mut path = Vec::new();
        for level in &self.levels {
            path.extend(level.get(index ^ 1));
            index /= 2;
        }
        path
    }
}

/// The root of a tree of `count` leaves in which `leaf` is at `index` with this path; `None` if
/// the path has another length than every such path.
pub(super) fn root_of(
    leaf: Digest,
    mut index: usize,
    mut count: usize,
    path: &[Digest],
) -> Option<Digest> {
    let (mut at, mut path) = (leaf, path.iter());
    while count > 1 {
        if index % 2 == 1 {
            at = node(path.next()?, &at);
        } else if index + 1 < count {
            at = node(&at, path.next()?);
        }
        index /= 2;
        count = count.div_ceil(2);
    }
    path.next().is_none().then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(count: usize) -> Vec<Digest> {
        (0..count).map(|i| leaf(&[i as u8])).collect()
    }

    #[test]
    fn a_path_proves_its_leaf_at_its_position_and_no_other() {
        for count in 1..=33 {
            let leaves = leaves(count);
            let tree = Tree::new(leaves.clone());
            for index in 0..count {
                let path = tree.path(index);
                let proves = |leaf, index, path: &[Digest]| {
                    root_of(leaf, index, count, path) == Some(tree.root())
                };
                assert!(proves(leaves[index], index, &path));
                for other in (0..count).filter(|other| *other != index) {
                    assert!(!proves(leaves[index], other, &path), "another position");
                    assert!(!proves(leaves[other], index, &path), "another leaf");
                }
                let longer: Vec<_> = path.iter().copied().chain([tree.root()]).collect();
                assert!(!proves(leaves[index], index, &longer));
                if let Some((_, shorter)) = path.split_last() {
                    assert!(!proves(leaves[index], index, shorter));
                }
            }
        }
    }
}
