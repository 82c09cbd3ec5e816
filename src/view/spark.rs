//! The course of a number over the last minutes, and how it is drawn in one line.

/// So many samples are one cell of the drawing.
const SAMPLES_PER_CELL: usize = 20;
/// So many cells are kept: with a sample a second, four minutes.
pub const CELLS: usize = 12;

const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const ASCII: [char; 8] = ['_', '.', ',', '-', '~', '=', '*', '#'];

/// The highest sample of each stretch of time, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Course {
    cells: Vec<u64>,
    /// How many samples the last cell has.
    samples: usize,
}

impl Course {
    /// One more sample.
    pub fn add(&mut self, sample: u64) {
        match self.cells.last_mut() {
            Some(last) if self.samples < SAMPLES_PER_CELL => {
                *last = (*last).max(sample);
                self.samples += 1;
            }
            _ => {
                if self.cells.len() == CELLS {
                    self.cells.remove(0);
                }
                self.cells.push(sample);
                self.samples = 1;
            }
        }
    }

    /// The drawing, [`CELLS`] columns, blank before the first sample. From the lowest to the highest, but a change of less than an
    /// eighth is drawn as small as it is.
    #[inline(never)]
    pub fn draw(&self, utf8: bool) -> String {
        let marks = if utf8 { BLOCKS } else { ASCII };
        let highest = self.cells.iter().copied().max().unwrap_or(0);
        let lowest = self.cells.iter().copied().min().unwrap_or(0).min(highest - highest / 8);
        let range = u128::from(highest - lowest).max(1);
        let blanks = CELLS - self.cells.len();
        let mark = |sample: &u64| {
            let height = u128::from(sample - lowest) * 7 / range;
            usize::try_from(height).ok().and_then(|height| marks.get(height)).copied().unwrap_or(' ')
        };
        std::iter::repeat_n(' ', blanks).chain(self.cells.iter().map(mark)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn course(cells: &[u64]) -> Course {
        let mut course = Course::default();
        for cell in cells {
            for _ in 0..SAMPLES_PER_CELL {
                course.add(*cell);
            }
        }
        course
    }

    #[test]
    fn a_course_is_drawn_between_its_lowest_and_highest() {
        for (cells, drawn) in [
            (&[][..], "            "),
            (&[0], "           ▁"),
            (&[7, 7], "          ▁▁"),
            (&[0, 1, 2, 3, 4, 5, 6, 7], "    ▁▂▃▄▅▆▇█"),
            (&[u64::MAX, 0], "          █▁"),
            (&[1000, 1001, 1125], "         ▁▁█"),
            (&[8000, 8001, 8010], "         ▇▇█"),
        ] {
            assert_eq!(course(cells).draw(true), drawn, "{cells:?}");
        }
        assert_eq!(course(&[0, 1, 2, 3, 4, 5, 6, 7]).draw(false), "    _.,-~=*#");
    }

    #[test]
    fn a_cell_is_the_highest_of_its_time_and_only_the_last_are_kept() {
        let mut one = Course::default();
        one.add(1);
        one.add(9);
        one.add(2);
        assert_eq!(one.cells, [9]);
        let long: Vec<u64> = (0..40).collect();
        assert_eq!(course(&long).cells, (28..40).collect::<Vec<u64>>());
    }
}
