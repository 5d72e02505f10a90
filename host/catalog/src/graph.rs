//! Whether containers and what they hold can be put in an order.

/// What is to be ordered: numbered items, some of which contain others, and which comes before which.
///
/// A container is two points, its start and its end; all that it contains lies between. So "a before b"
/// puts the whole of a before the whole of b, as the agent does.
#[derive(Debug)]
pub struct Graph {
    successors: Vec<Vec<usize>>,
    waits_for: Vec<usize>,
    containers: Vec<bool>,
}

impl Graph {
    /// A graph of as many items, none of which is a container or has to wait.
    pub fn new(items: usize) -> Self {
        Self {
            successors: vec![Vec::new(); 2 * items],
            waits_for: vec![0; 2 * items],
            containers: vec![false; items],
        }
    }

    /// Makes an item one that can contain others. To be said of every container before anything is ordered.
    pub fn container(&mut self, item: usize) {
        if let Some(container) = self.containers.get_mut(item)
            && !*container
        {
            *container = true;
            self.arrow(2 * item, 2 * item + 1);
        }
    }

    /// Puts `member` into `container`.
    pub fn contain(&mut self, container: usize, member: usize) {
        self.container(container);
        self.arrow(2 * container, 2 * member);
        self.arrow(self.last(member), 2 * container + 1);
    }

    /// Puts the whole of `first` before the whole of `second`.
    pub fn before(&mut self, first: usize, second: usize) {
        self.arrow(self.last(first), 2 * second);
    }

    /// The items along one cycle, each once, the lowest number first; none where there is an order.
    pub fn cycle(mut self) -> Option<Vec<usize>> {
        let mut ready: Vec<usize> =
            (0..self.waits_for.len()).filter(|point| self.waits(*point) == 0).collect();
        let mut open = self.waits_for.len();
        while let Some(point) = ready.pop() {
            open -= 1;
            // A point that is passed lies on no cycle: its arrows are not looked at again.
            for next in self.successors.get_mut(point).map(std::mem::take).unwrap_or_default() {
                if let Some(waits) = self.waits_for.get_mut(next) {
                    *waits -= 1;
                    if *waits == 0 {
                        ready.push(next);
                    }
                }
            }
        }
        if open == 0 {
            return None;
        }
        // Every point that still waits has one before it that waits too: going back must come round.
        let mut waiting_before = vec![None; self.waits_for.len()];
        for (point, successors) in self.successors.iter().enumerate().rev() {
            for next in successors.iter().filter(|next| self.waits(point) > 0 && self.waits(**next) > 0) {
                if let Some(before) = waiting_before.get_mut(*next) {
                    *before = Some(point);
                }
            }
        }
        let mut walked: Vec<usize> = Vec::new();
        let mut place: Vec<Option<usize>> = vec![None; self.waits_for.len()];
        let mut point = (0..self.waits_for.len()).find(|point| self.waits(*point) > 0)?;
        let start = loop {
            if let Some(start) = place.get(point).copied().flatten() {
                break start;
            }
            *place.get_mut(point)? = Some(walked.len());
            walked.push(point);
            point = waiting_before.get(point).copied().flatten()?;
        };
        let mut items: Vec<usize> =
            walked.split_off(start).into_iter().rev().map(|point| point / 2).collect();
        items.dedup();
        let lowest = items.iter().enumerate().min_by_key(|(_, item)| **item).map(|(place, _)| place)?;
        items.rotate_left(lowest);
        if items.len() > 1 && items.first() == items.last() {
            items.pop();
        }
        Some(items)
    }

    fn arrow(&mut self, from: usize, to: usize) {
        if let (Some(successors), Some(waits)) = (self.successors.get_mut(from), self.waits_for.get_mut(to)) {
            successors.push(to);
            *waits += 1;
        }
    }

    fn last(&self, item: usize) -> usize {
        2 * item + usize::from(self.containers.get(item) == Some(&true))
    }

    fn waits(&self, point: usize) -> usize {
        self.waits_for.get(point).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(contain: &[(usize, usize)], before: &[(usize, usize)], expected: Option<&[usize]>) {
        let mut graph = Graph::new(8);
        contain.iter().for_each(|(container, _)| graph.container(*container));
        contain.iter().for_each(|(container, member)| graph.contain(*container, *member));
        before.iter().for_each(|(first, second)| graph.before(*first, *second));
        assert_eq!(graph.cycle().as_deref(), expected, "{contain:?} {before:?}");
    }

    #[test]
    fn what_can_be_ordered_has_no_cycle() {
        check(&[], &[], None);
        check(&[], &[(0, 1), (1, 2), (0, 2), (0, 1)], None);
        check(&[(0, 1), (2, 3)], &[(0, 2), (1, 3)], None);
        check(&[(0, 1), (0, 2)], &[(2, 1)], None);
    }

    #[test]
    fn a_cycle_is_told_with_what_lies_on_it() {
        check(&[], &[(3, 3)], Some(&[3]));
        check(&[], &[(0, 1), (5, 2), (2, 4), (4, 5), (5, 6)], Some(&[2, 4, 5]));
        // A member that waits for its container.
        check(&[(0, 1)], &[(0, 1)], Some(&[0, 1]));
        // Two containers whose members wait crosswise.
        check(&[(0, 1), (2, 3)], &[(0, 2), (3, 1)], Some(&[0, 2, 3, 1]));
        // Containers in each other.
        check(&[(0, 1), (1, 0)], &[], Some(&[0, 1]));
    }

    /// Numbers that look like chance and are the same every time.
    fn numbers(mut seed: u64) -> impl FnMut(usize) -> usize {
        move |below| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            usize::try_from(seed % u64::try_from(below).unwrap()).unwrap()
        }
    }

    #[test]
    fn a_cycle_is_found_just_where_something_is_before_itself() {
        let (mut with, mut without) = (0, 0);
        for seed in 1..2000 {
            let mut next = numbers(seed * 7919);
            let items = 2 + next(7);
            let arrows: Vec<(usize, usize)> = (0..next(12)).map(|_| (next(items), next(items))).collect();
            let mut before = vec![vec![false; items]; items];
            arrows.iter().for_each(|(first, second)| before[*first][*second] = true);
            for (via, first, second) in
                (0..items).flat_map(|a| (0..items).flat_map(move |b| (0..items).map(move |c| (a, b, c))))
            {
                before[first][second] |= before[first][via] && before[via][second];
            }
            let mut graph = Graph::new(items);
            arrows.iter().for_each(|(first, second)| graph.before(*first, *second));
            match graph.cycle() {
                None => {
                    without += 1;
                    assert!((0..items).all(|item| !before[item][item]), "{arrows:?}");
                }
                Some(cycle) => {
                    with += 1;
                    let round = cycle.iter().zip(cycle.iter().cycle().skip(1));
                    assert!(round.clone().all(|(a, b)| arrows.contains(&(*a, *b))), "{arrows:?} {cycle:?}");
                    let mut once = cycle.clone();
                    once.sort();
                    once.dedup();
                    assert_eq!(once.len(), cycle.len(), "{cycle:?}");
                }
            }
        }
        assert!(with > 200 && without > 200, "{with} {without}");
    }

    #[test]
    fn members_of_containers_are_ordered_as_if_each_waited_for_each() {
        // Items 0..3 contain the leaves 3..9; "a before b" of containers is the same as of all their members.
        for seed in 1..1000 {
            let mut next = numbers(seed * 104_729);
            let holder: Vec<usize> = (3..9).map(|_| next(3)).collect();
            let arrows: Vec<(usize, usize)> = (0..1 + next(5)).map(|_| (next(9), next(9))).collect();
            let leaves = |item: usize| match item {
                0..3 => (3..9).filter(|leaf| holder[leaf - 3] == item).collect(),
                leaf => vec![leaf],
            };
            let empty = |item: usize| leaves(item).is_empty();
            if arrows.iter().any(|(first, second)| empty(*first) || empty(*second)) {
                continue;
            }
            let (mut contained, mut flat) = (Graph::new(9), Graph::new(9));
            (0..3).for_each(|container| contained.container(container));
            (3..9).for_each(|leaf| contained.contain(holder[leaf - 3], leaf));
            for (first, second) in &arrows {
                contained.before(*first, *second);
                for (first, second) in leaves(*first)
                    .into_iter()
                    .flat_map(|first| leaves(*second).into_iter().map(move |second| (first, second)))
                {
                    flat.before(first, second);
                }
            }
            assert_eq!(contained.cycle().is_some(), flat.cycle().is_some(), "{holder:?} {arrows:?}");
        }
    }
}
