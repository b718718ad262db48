//! The verdict over a row of answers: pure, without a clock.

use std::collections::VecDeque;

use crate::sample::Health;

/// Rise and fall, for four levels (alive, slow, silent, dead): a level holds from below when the last `fall` answers were
/// all as bad or worse, and from above when the last `rise` were all as good or better. So a service that was dead and now
/// answers late is slow, not dead; and one silence among refusals does not make it dead sooner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    rise: usize,
    fall: usize,
    /// The last answers, oldest first; no more than can count.
    last: VecDeque<Health>,
    health: Option<Health>,
}

/// Levels in the order of [`Health`], without words.
fn level(health: &Health) -> u8 {
    match health {
        Health::Alive => 0,
        Health::Unknown(_) => 1,
        Health::Slow(_) => 2,
        Health::Silent(_) => 3,
        Health::Dead(_) => 4,
    }
}

impl Verdict {
    /// No verdict yet; `rise` and `fall` are at least 1.
    pub fn new(rise: usize, fall: usize) -> Self {
        Verdict { rise: rise.max(1), fall: fall.max(1), last: VecDeque::new(), health: None }
    }

    /// One more answer.
    pub fn note(&mut self, health: Health) {
        if self.last.len() == self.rise.max(self.fall) {
            self.last.pop_front();
        }
        self.last.push_back(health);
        // As bad as the best of the last `fall`; as good as the worst of the last `rise`.
        let worse = self.row(self.fall).and_then(|row| row.min_by_key(|health| level(health))).cloned();
        let better = self.row(self.rise).and_then(|row| row.max_by_key(|health| level(health))).cloned();
        self.health = match (self.health.take(), worse, better) {
            // The first verdict: a row of faults, or a row of good answers.
            (None, Some(worse), _) if worse != Health::Alive => Some(worse),
            (None, _, Some(Health::Alive)) => Some(Health::Alive),
            (None, ..) => None,
            (Some(now), Some(worse), _) if level(&worse) > level(&now) => Some(worse),
            (Some(now), _, Some(better)) if level(&better) < level(&now) => Some(better),
            (Some(now), ..) => Some(self.newest_words(now)),
        };
    }

    /// The last `count` answers, newest first, if there were so many.
    fn row(&self, count: usize) -> Option<impl Iterator<Item = &Health>> {
        (self.last.len() >= count).then(|| self.last.iter().rev().take(count))
    }

    /// The same level in the words of the newest answer of that level.
    fn newest_words(&self, health: Health) -> Health {
        self.last.iter().rev().find(|last| level(last) == level(&health)).cloned().unwrap_or(health)
    }

    /// What is known; none before the first row.
    pub fn health(&self) -> Option<Health> {
        self.health.clone()
    }

    /// Whether the next answer matters more than usual: no verdict yet, not alive, or the last answer was a fault.
    pub fn hurry(&self) -> bool {
        self.health != Some(Health::Alive) || self.last.back() != Some(&Health::Alive)
    }

    /// In words, how far a row has come that does not count yet.
    pub fn pending(&self) -> Option<String> {
        let good = self.last.iter().rev().take_while(|health| **health == Health::Alive).count();
        let bad = self.last.iter().rev().take_while(|health| **health != Health::Alive).count();
        if good > 0 && self.health != Some(Health::Alive) {
            return Some(format!("good answer {} of {}", good.min(self.rise), self.rise));
        }
        (bad > 0 && bad < self.fall).then(|| format!("fault {bad} of {}", self.fall))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health(letter: char) -> Health {
        match letter {
            'a' => Health::Alive,
            'l' => Health::Slow("late".into()),
            's' => Health::Silent("silent".into()),
            'd' => Health::Dead("dead".into()),
            _ => panic!("{letter}"),
        }
    }

    /// The verdict after each answer, `?` before the first.
    fn verdicts(rise: usize, fall: usize, answers: &str) -> String {
        let mut verdict = Verdict::new(rise, fall);
        let letter =
            |health: Option<Health>| health.map_or('?', |health| ['a', 'u', 'l', 's', 'd'][level(&health) as usize]);
        answers
            .chars()
            .map(|answer| {
                verdict.note(health(answer));
                letter(verdict.health())
            })
            .collect()
    }

    #[test]
    fn a_row_of_answers_makes_the_verdict() {
        for (rise, fall, answers, expected) in [
            (2, 3, "aaddd", "?aaad"),
            (2, 3, "aaddadd", "?aaaaaa"),
            (2, 3, "dddada", "??dddd"),
            (2, 3, "dddaa", "??dda"),
            (1, 1, "adad", "adad"),
            (3, 1, "aadaaadaaa", "??dddaddda"),
            // Before the first verdict a mixed row says nothing.
            (2, 3, "adadad", "??????"),
            // As bad as the best of the row: one silence among refusals.
            (2, 3, "aadsd", "?aaas"),
            (2, 3, "aalsd", "?aaal"),
            (2, 3, "aalllddd", "?aaallld"),
            // Death eases to slowness by `rise` late answers.
            (2, 3, "dddlla", "??ddll"),
            (2, 3, "dddllaa", "??ddlla"),
        ] {
            let got = verdicts(rise, fall, answers);
            assert_eq!(got, expected, "rise {rise}, fall {fall}: {answers}");
        }
    }

    #[test]
    fn it_hurries_until_the_first_verdict_and_from_the_first_fault_to_the_last() {
        let mut verdict = Verdict::new(2, 2);
        let hurry: Vec<bool> = "aaaddaaa"
            .chars()
            .map(|answer| {
                verdict.note(health(answer));
                verdict.hurry()
            })
            .collect();
        assert_eq!(hurry, [true, false, false, true, true, true, false, false]);
    }

    #[test]
    fn words_follow_the_newest_answer_of_the_level() {
        let mut verdict = Verdict::new(1, 1);
        verdict.note(Health::Dead("refused".into()));
        verdict.note(Health::Dead("reset".into()));
        assert_eq!(verdict.health(), Some(Health::Dead("reset".into())));
        assert_eq!(verdict.pending(), None);
        let mut verdict = Verdict::new(2, 3);
        verdict.note(Health::Alive);
        assert_eq!(verdict.pending().as_deref(), Some("good answer 1 of 2"));
        verdict.note(Health::Alive);
        assert_eq!(verdict.pending(), None);
        verdict.note(Health::Silent("no answer".into()));
        assert_eq!(verdict.pending().as_deref(), Some("fault 1 of 3"));
    }
}
