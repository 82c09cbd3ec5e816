//! Start order: every service after those it depends on, otherwise as they are written; and the circles where there is none.

use std::cmp::Reverse;

use super::Condition;
use crate::config::source::Span;
use crate::gather::Gather;
use crate::sorted::Set;

/// That a service depends on another.
#[derive(Debug)]
pub struct Edge {
    /// On which.
    pub on: usize,
    /// In what state.
    pub condition: Condition,
    /// Whether it is started again when that one is.
    pub restart: bool,
    /// Where that is written.
    pub span: Span,
}

/// Services that depend on each other in a circle.
#[derive(Debug, PartialEq, Eq)]
pub struct Circle {
    /// Each depends on the next, the last on the first.
    pub members: Vec<usize>,
    /// Where the first dependency is written.
    pub span: Span,
}

/// The services in start order, and all circles; those in or behind a circle are not in the order. `edges`: what each depends on.
#[inline(never)]
pub fn sort(edges: &[Vec<Edge>]) -> (Vec<usize>, Vec<Circle>) {
    let mut waiting: Vec<usize> = edges.iter().map(Vec::len).gather();
    let mut dependents: Vec<Vec<usize>> = vec![Vec::new(); edges.len()];
    for (at, edges) in edges.iter().enumerate() {
        for edge in edges {
            if let Some(list) = dependents.get_mut(edge.on) {
                list.push(at);
            }
        }
    }
    let mut free: Set<Reverse<usize>> =
        (0..edges.len()).rev().filter(|at| waiting.get(*at) == Some(&0)).map(Reverse).collect();
    let mut order = Vec::with_capacity(edges.len());
    while let Some(Reverse(at)) = free.pop_last() {
        order.push(at);
        for dependent in dependents.get(at).map_or(&[][..], Vec::as_slice) {
            if let Some(count) = waiting.get_mut(*dependent) {
                *count -= 1;
                if *count == 0 {
                    free.insert(Reverse(*dependent));
                }
            }
        }
    }
    let circles = circles(edges, &waiting);
    (order, circles)
}

/// Follows unfulfilled dependencies until they come back to where the walk has been. Each service is walked over once.
#[inline(never)]
fn circles(edges: &[Vec<Edge>], waiting: &[usize]) -> Vec<Circle> {
    let is_stuck = |at: usize| waiting.get(at).is_some_and(|count| *count > 0);
    let mut walked = vec![false; edges.len()];
    let mut found = Vec::new();
    for start in (0..edges.len()).filter(|at| is_stuck(*at)) {
        let mut path: Vec<(usize, Span)> = Vec::new();
        let mut at = start;
        while let Some(seen) = walked.get_mut(at).filter(|seen| !**seen) {
            *seen = true;
            // Whoever is stuck depends on somebody who is.
            let Some(edge) =
                edges.get(at).map_or(&[][..], Vec::as_slice).iter().find(|edge| is_stuck(edge.on))
            else {
                break;
            };
            path.push((at, edge.span));
            at = edge.on;
        }
        if let Some((first, (_, span))) = path.iter().enumerate().find(|(_, (member, _))| *member == at) {
            let members = path.iter().skip(first).map(|(member, _)| *member).gather();
            found.push(Circle { members, span: *span });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Problems;

    fn edges(lists: &[&[usize]]) -> Vec<Vec<Edge>> {
        let file = Problems::default().sources.add(String::new(), "".into(), String::new(), false);
        let span = Span::new(file, 0..0);
        let edge = |on: &usize| Edge { on: *on, condition: Condition::Ready, restart: false, span };
        lists.iter().map(|list| list.iter().map(edge).collect()).collect()
    }

    fn check(lists: &[&[usize]], order: &[usize], circles: &[&[usize]]) {
        let (found, found_circles) = sort(&edges(lists));
        assert_eq!(found, order, "{lists:?}");
        assert_eq!(
            found_circles.iter().map(|circle| circle.members.as_slice()).collect::<Vec<_>>(),
            circles,
            "{lists:?}"
        );
    }

    #[test]
    fn order_is_that_of_the_file_where_nothing_depends() {
        check(&[&[], &[], &[]], &[0, 1, 2], &[]);
        check(&[&[2], &[], &[]], &[1, 2, 0], &[]);
        check(&[&[1, 2], &[2], &[], &[0]], &[2, 1, 0, 3], &[]);
    }

    #[test]
    fn circles_are_named_once() {
        check(&[&[0]], &[], &[&[0]]);
        check(&[&[1], &[0], &[]], &[2], &[&[0, 1]]);
        check(&[&[1], &[2], &[1], &[0]], &[], &[&[1, 2]]);
        check(&[&[1], &[0], &[3], &[2], &[0, 2]], &[], &[&[0, 1], &[2, 3]]);
    }

    #[test]
    fn random_graphs_are_sorted_or_have_a_circle() {
        let mut state = 1_u64;
        let mut random = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(state >> 33).unwrap() % below
        };
        for _ in 0..2000 {
            let count = 1 + random(8);
            let lists: Vec<Vec<usize>> = (0..count)
                .map(|_| {
                    let mut list: Vec<usize> = (0..random(3)).map(|_| random(count)).collect();
                    list.dedup();
                    list
                })
                .collect();
            let lists: Vec<&[usize]> = lists.iter().map(Vec::as_slice).collect();
            let (order, circles) = sort(&edges(&lists));
            assert_eq!(order.len() < count, !circles.is_empty());
            for (place, at) in order.iter().enumerate() {
                assert!(lists[*at].iter().all(|on| order[..place].contains(on)));
            }
            for circle in circles {
                for (one, next) in circle.members.iter().zip(circle.members.iter().cycle().skip(1)) {
                    assert!(lists[*one].contains(next));
                }
            }
        }
    }
}
