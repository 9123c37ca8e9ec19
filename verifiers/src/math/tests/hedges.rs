//! What stands around a final answer: other answers, words that take it back, and text that does neither.

use data::Status;

use super::verdict_with;
use crate::math::{MathSettings, Mode};

const EVERY: [Mode; 3] = [Mode::Strict, Mode::Lenient, Mode::MathVerify];

const SEARCHING: [Mode; 2] = [Mode::Lenient, Mode::MathVerify];

/// Checks in each mode whether gold and completion pass.
fn check(modes: &[Mode], passes: bool, table: &[(&str, &str)]) {
    let mut wrong = Vec::new();
    for (gold, completion) in table {
        for mode in modes {
            let settings = MathSettings { mode: *mode, ..MathSettings::default() };
            let verdict = verdict_with(settings, gold, completion);
            if (verdict.status == Status::Pass) != passes {
                wrong.push(format!("{mode:?}: {gold} | {completion}: {:?} ({})", verdict.status, verdict.reason));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn pass(modes: &[Mode], table: &[(&str, &str)]) {
    check(modes, true, table);
}

fn fail(modes: &[Mode], table: &[(&str, &str)]) {
    check(modes, false, table);
}

#[test]
fn blanks_hide_no_second_answer() {
    for blank in [" ", "\n", "\t"] {
        let padding = blank.repeat(100_000);
        fail(&EVERY, &[("72", &format!(r"\boxed{{72}}{padding} or maybe 71"))]);
        pass(&EVERY, &[("72", &format!(r"\boxed{{72}}{padding}."))]);
    }
}

#[test]
fn another_answer_beside_a_box_does_not_pass() {
    fail(
        &EVERY,
        &[
            ("3", r"\boxed{3}. So the answer is 7."),
            ("3", r"\boxed{3}. Final answer: 7"),
            ("3", "$\\boxed{3}$\n\n#### 7"),
            ("3", "\\boxed{3}\nThe answer is $7$."),
            ("3", r"\boxed{3}. Let me recheck the sum. The answer is 8."),
            ("4", r"\boxed{4}. Wait, it should be 5."),
            ("4", r"\boxed{4}. Sorry, I meant 5."),
            ("4", r"\boxed{4} -- oops, 5"),
            ("4", r"\boxed{4} (correction: 5)"),
            ("4", r"\boxed{4}. Actually, 5."),
            ("4", r"\boxed{4}. No, wait: $5$."),
            ("4", r"\boxed{4}. Hmm, maybe 5?"),
            ("4", r"\boxed{4} is incorrect."),
            ("4", r"\boxed{4}. That is wrong."),
            ("4", r"\boxed{4}? No."),
            ("4", r"\boxed{4}. This is not the answer."),
            ("4", r"\boxed{4}, which is wrong; it is 5"),
            ("4", r"$\boxed{4}$ isn't right."),
            ("4", r"It is not \boxed{4}"),
            ("4", r"The answer cannot be \boxed{4}."),
            ("4", r"the result isn't $\boxed{4}$"),
            ("4", r"\boxed{4}. The answer is not 4."),
            ("4", r"\boxed{4} or six"),
            ("4", r"\boxed{4}, maybe twelve"),
            ("21", r"\boxed{21} or twenty-two"),
            ("4", r"3 or \boxed{4}"),
            ("4", r"Either $3$ or \boxed{4}"),
            ("4", r"It is 5, or maybe \boxed{4}"),
            ("4", r"The answer is 7. \boxed{4}"),
            ("4", r"<answer>7</answer> \boxed{4}"),
            ("7", r"\boxed{4} <answer>7</answer>"),
            ("4", r"\boxed{4}<answer>7</answer>"),
            ("B", r"\boxed{B}. The answer is C."),
            ("Yes", r"\boxed{\text{Yes}}. The answer is no."),
            ("Friday", r"\boxed{\text{Friday}} or Saturday"),
            ("x+1", r"\boxed{x+1} or x+2"),
            ("5", r"\boxed{5} or x=6"),
            ("4", r"\boxed{4} vs. 5?"),
            ("4", r"\boxed{4} / maybe 5"),
            ("12", r"\boxed{12}. On second thought, 13."),
            ("12", r"\boxed{12}. Scratch that, 13."),
            ("12", r"\boxed{12}. Make that 13."),
            ("12", r"\boxed{12}. Edit: 13"),
            ("12", r"\boxed{12}. Update: the answer should be 13."),
            ("36", r"\boxed{36}. The correct answer is 35."),
            ("8", r"The answer is 7, \boxed{8}"),
            ("8", "Answer: 7\n\n\\boxed{8}"),
            ("8", r"x = 7 or x = \boxed{8}"),
            ("8", r"$x=7$ or $x=\boxed{8}$"),
            ("8", r"\boxed{8}. No, it's 7 since it must be odd."),
            ("8", r"\boxed{8}. Sorry, 7, not 8."),
            ("8", r"\boxed{8}. On second thoughts: 7"),
            ("8", r"\boxed{8}. Hmm, 7."),
            ("8", r"\boxed{8}. The answer is not 8 but 7."),
            ("8", r"\boxed{8}. Not 8 but 7."),
            ("8", r"\boxed{8}. The answer isn't 8."),
            ("8", r"\boxed{8} (wrong)"),
            ("8", r"\boxed{8}. Wait, that's wrong. 7."),
            ("8", r"\boxed{8}, no, \boxed{7}"),
            ("8", r"~~\boxed{8}~~ 7"),
            ("8", r"\boxed{8}. Strike that: 7."),
            ("8", r"\boxed{8}. Rather, 7."),
            ("8", r"\boxed{8} or rather 7"),
            ("8", r"\boxed{8} (I meant 7)"),
            ("8", r"\boxed{8}. I mean 7."),
            ("8", r"\boxed{8}; the final answer should be 7"),
            ("8", r"\boxed{8} [edit: 7]"),
            ("8", "\\boxed{8}\n\nCorrection: The answer is 7."),
            ("8", "\\boxed{8}\n\n<answer>7</answer>"),
            ("8", "\\boxed{8}\n\n**Final Answer:** $7$"),
            ("8", "\\boxed{8}\n\n**Final Answer**: 7"),
            ("8", "\\boxed{8}\n\nTherefore, the answer is $\\frac{7}{2}$."),
            (r"\frac12", r"\boxed{\frac12}. The answer is $\frac{1}{3}$."),
            (r"\frac12", r"\boxed{\frac12} or $\frac13$"),
            ("(1,2)", r"\boxed{(1,2)} or $(2,1)$"),
            ("C", r"\boxed{C}. Actually D."),
            ("C", r"\boxed{\text{C}} or \text{D}"),
            ("True", r"\boxed{\text{True}}. Actually, false."),
            ("Paris", r"\boxed{\text{Paris}}, or maybe Lyon"),
            ("x^2", r"\boxed{x^2}. No: $x^3$."),
            ("5", r"\boxed{5}...or 6"),
            ("5", r"either \boxed{5} or $6$"),
            ("8", r"\cancel{\boxed{8}} 7"),
            ("4", r"The answer is not \boxed{4}"),
            ("4", r"It's not \boxed{4}."),
            ("4", r"So it can't be \boxed{4}."),
            ("4", r"The result cannot be equal to \boxed{4}."),
            ("4", r"5, not \boxed{4}"),
            ("(2,5]", r"\boxed{(2,5]}. The answer is 7."),
            (r"[1,2]\cup[3,4]", r"\boxed{[1,2]\cup[3,4]} or 5"),
        ],
    );
}

#[test]
fn reasoning_behind_a_box_hides_nothing_that_follows_it() {
    fail(
        &EVERY,
        &[
            ("4", r"\boxed{4}<think>hmm</think> The answer is 5."),
            ("4", r"\boxed{4}<think>5</think><answer>5</answer>"),
        ],
    );
    pass(
        &EVERY,
        &[("4", r"\boxed{4}<think>or 5?</think> The answer is 4."), ("4", r"<think>\boxed{5}</think>\boxed{4}")],
    );
}

#[test]
fn text_around_a_box_that_agrees_with_it_passes() {
    pass(
        &EVERY,
        &[
            ("5", r"\boxed{5}, not 4 as one may think."),
            ("4", r"\boxed{4}, so 2+2=4 as required."),
            ("4", r"\boxed{4}. Check: $2+2=4$."),
            ("4", r"\boxed{4}. The answer is four."),
            ("4", r"\boxed{4}. The answer is 4."),
            ("4", r"\boxed{4}. So the answer is 4 apples."),
            ("4", r"\boxed{4}. Final answer: 4"),
            ("4", "\\boxed{4}\n\n#### 4"),
            ("4", r"\boxed{4}, i.e. four"),
            ("4", r"\boxed{4} or four"),
            ("4", r"\boxed{4} is the answer."),
            ("4", r"\boxed{4} is correct."),
            ("4", r"\boxed{4}. It is not 5."),
            ("4", r"\boxed{4}. No other value works."),
            ("4", r"\boxed{4}. 5 is not correct."),
            ("4", r"\boxed{4}. The value 5 would be wrong."),
            ("4", r"\boxed{4}. If n were odd, the answer is 5."),
            ("4", r"\boxed{4}. Many students think the answer is 5."),
            ("4", r"\boxed{4}. For part (b) the answer is 9."),
            ("4", r"\boxed{4}. Please tell me if this is wrong."),
            ("4", r"\boxed{4}. I was wrong before."),
            ("4", r"\boxed{4}. It would be wrong to say 5."),
            ("4", r"\boxed{4} units"),
            ("4", r"\boxed{4} hours, not minutes"),
            ("4", r"\boxed{4} hours (240 minutes)"),
            ("4", r"\boxed{4} hours, or 240 minutes"),
            ("50", r"\boxed{50}\% or one half"),
            ("0.5", r"\boxed{0.5}. The answer is one half."),
            ("1/2", r"\boxed{\frac12}. The answer is 0.5."),
            ("2,3", r"\boxed{2, 3}. The answers are 2 and 3."),
            ("2,3", r"\boxed{2, 3}. The answer is 2 and 3."),
            ("(1,2)", r"\boxed{(1,2)}. The answer is x=1 and y=2."),
            ("12", r"\boxed{12}. The answer is B."),
            ("7", r"\boxed{7}. The answer is 3+4=7."),
            ("7", r"\boxed{7}. The answer is 3 + 4 = 7."),
            ("7", r"\boxed{7}. The answer is positive."),
            ("7", r"\boxed{7}. The answer is 2 more than 5."),
            ("7", r"\boxed{7}. The answer is 3 less than 10."),
            ("7", r"\boxed{7}. The answer is 100% certain."),
            ("7", r"The answer is 7. \boxed{7}"),
            ("7", r"My first guess was 5 or 6. The answer is \boxed{7}"),
            ("7", r"If x is not negative, \boxed{7}"),
            ("7", r"It is not hard to see that the answer is \boxed{7}"),
            ("7", r"It's 5 or 7. But it must be odd and prime and large, so \boxed{7}"),
            ("7", r"x=5 or x=7, and since x>6 we get \boxed{7}"),
            ("7", r"The answer is 5? No, I forgot 2: \boxed{7}"),
            ("2", r"$x$ cannot be \boxed{2}"),
            ("B", r"\boxed{B} is false."),
            ("B", r"\boxed{B} is incorrect."),
            ("Friday", r"\boxed{\text{Friday}}. So it is not Monday."),
            ("Friday", r"\boxed{\text{Friday}} or later"),
            ("72", r"\boxed{72}. No 71 here"),
            ("72", r"\boxed{72}. No, 71 does not work."),
            ("72", r"\boxed{72}. Actually 72 is 8*9."),
            ("72", r"\boxed{72}. Wait, 72 = 8*9. Yes."),
            ("72", r"\boxed{72}. Actually, 3 numbers divide it."),
            ("72", r"\boxed{72}; should 71 be asked for, subtract one"),
            ("72", r"\boxed{72}. It should be noted that 71 is prime."),
            ("72", r"\boxed{72} (rounded to 2 digits)"),
            ("72", r"\boxed{72}. I mean seventy-two."),
            ("72", r"\boxed{72} rather than 71"),
            ("72", r"\boxed{72} instead of 71."),
            ("72", r"<answer>\boxed{72}</answer>"),
            ("72", r"\boxed{72} <answer>72</answer>"),
            ("72", r"\boxed{72} <answer>see above</answer>"),
            ("72", r"8*9 or \boxed{72}"),
            ("120", r"2 hours or \boxed{120} minutes"),
            ("36", r"\boxed{36}. Therefore the correct answer is 36."),
            (r"\frac{3}{4}", r"\boxed{\frac{3}{4}}, or 75%."),
            (r"\frac{3}{4}", r"\boxed{\frac{3}{4}} = 0.75"),
            (r"\frac{3}{4}", r"\boxed{\frac{3}{4}}. Answer: 3/4"),
            ("1000", r"\boxed{1000}. The answer is 1,000."),
            ("1000", r"\boxed{1000}. The answer is \$1,000."),
            ("3.14", r"\boxed{3.14} or $\pi$ approximately"),
            ("5", r"\boxed{5}. The answer is $x = 5$."),
            ("5", r"\boxed{5}. The answer is $2+3$."),
            ("5", "\\boxed{5}\n\nNote: The answer is 5 since 2+3=5, not 6."),
            ("16", r"\boxed{16} or $2^4$"),
            ("5", r"The remainder must be 5. \boxed{5}"),
            ("5", r"Is it 4? No. It is \boxed{5}"),
            ("5", r"The answer is 4 more than 1, so \boxed{5}"),
            ("7", r"\boxed{7}. I thought it was 5."),
            ("7", r"\boxed{7}. Correct: 3 and 4 make 7."),
            ("7", r"\boxed{7} is correct: 3 and 4."),
            ("12", r"\boxed{12}. No, 3 and 4 are its factors."),
            ("7", r"\boxed{7}. Wait, 3 would not work."),
            ("7", r"\boxed{7}. Wait, 3, 4 and 7 are all possible sides."),
            ("7", r"\boxed{7}. I mean, 2+5 = 7."),
            ("7", r"\boxed{7}. Is that right? Yes."),
            ("7", r"\boxed{7} — right?"),
            ("7", "\\boxed{7}\n\n2. Next, we turn to the second part."),
            ("7", "\\boxed{7}\n\n1. First\n2. Second"),
            ("No solution", r"\boxed{\text{No solution}}. This is impossible."),
            ("7", r"\boxed{7}. (Incorrect options: 3, 5)"),
            ("7", r"\boxed{7}. The other candidate, 5, is extraneous."),
            ("7", r"\boxed{7}, since 5 is extraneous."),
            ("7", r"\boxed{7}. It must be 3 mod 4."),
            ("7", r"\boxed{7}. There are 3 of each."),
            (r"2\pi", r"\boxed{2\pi}. The answer is 6.28."),
            (r"2\pi", r"\boxed{2\pi}, approximately 6.28"),
            (r"2\pi", r"\boxed{2\pi} \approx 6.28"),
            ("0.75", r"\boxed{0.75}. Answer: 75%"),
            (r"75\%", r"\boxed{75\%}. Answer: 0.75"),
            ("A", r"\boxed{A}. The answer is A because B is wrong."),
            ("A", "\\boxed{A}\nAnswer: A) 12"),
            ("12", "\\boxed{12}\nAnswer: A) 12"),
            ("12", r"\boxed{12}. (Note: the answer is 12, not 13.)"),
            ("12", r"\boxed{12} is the final answer. Let me know if it is wrong."),
            ("12", "\\boxed{12}\n\n**Explanation:** The answer is 12 because 3*4=12."),
            ("-3", r"\boxed{-3}. The answer is −3."),
            ("x=5", r"\boxed{x=5}. The answer is 5."),
            ("5", r"\boxed{x=5}. So the answer is 5."),
            ("10", r"\boxed{10}. Answer: 10 cm"),
            ("1.5", r"\boxed{1.5} hours. Answer: 90 minutes"),
            ("6", r"\boxed{6}. Hence the total number is 6, and the other 4 are blue."),
            ("6", r"\boxed{6}. Not 5."),
            ("6", r"\boxed{6}. Definitely not 5!"),
            ("6", r"\boxed{6}. Should you want 5, remove one."),
            ("6", r"\boxed{6}. Update complete."),
            ("8", r"\boxed{8}. Sorry for the long solution."),
            ("8", r"\boxed{8}. Sorry about the mistake before."),
            ("8", r"I made a mistake above. It is not 7. \boxed{8}"),
            ("8", r"The answer isn't 7, it's \boxed{8}"),
            ("8", r"Not 7 but \boxed{8}"),
            ("8", r"The answer is 7 or 8. Since it is even, \boxed{8}"),
            ("8", r"The answer is at least 7. So \boxed{8}"),
            ("8", r"The first part's answer is 7. The second is \boxed{8}"),
            ("8", r"Answer: \boxed{8}"),
            ("8", r"Final answer: 8 = \boxed{8}"),
            ("8", r"The answer is 3 + 5 = \boxed{8}"),
            ("8", r"The answer is $3 + 5$ = \boxed{8}"),
            ("7", "\\boxed{7}\n\n**Final Answer**: 7"),
            ("C", r"\boxed{\text{C}}, not \text{D}"),
            ("4", r"The function never equals \boxed{4}."),
            ("4", r"The function is not \boxed{4}"),
            ("4", r"The numerator cannot be \boxed{4}."),
            ("4", r"$f(x)$ cannot be \boxed{4}"),
            ("8", r"\boxed{8}. The other option, 7, is wrong."),
            ("8", r"\boxed{8}. Another candidate might be 7, but it is wrong."),
            ("8", r"\boxed{8}. Alternatively 7 does not work."),
            ("8", r"\boxed{8}. It could be 7, which is not even."),
            ("(1,2)", r"\boxed{(1,2)}. The answer is x=1, y=2."),
            ("(1,2)", r"\boxed{(1,2)}. The answer is $x=1$ and $y=2$."),
            (r"\{4\}", r"\boxed{\{4\}}. The answer is 4."),
            (r"\{1,2\}", r"\boxed{\{1,2\}}. The answer is 1 and 2."),
            (r"\{1,2\}", r"\boxed{\{1,2\}}. The answer is 1, 2."),
            ("x>2", r"\boxed{x>2}. The answer is $(2,\infty)$."),
            ("4", r"\boxed{4} <answer>see step 3</answer>"),
            (r"12\text{ apples}", r"\boxed{12\text{ apples}}. The answer is 12."),
        ],
    );
}

#[test]
fn another_answer_beside_an_announced_one_does_not_pass() {
    fail(
        &SEARCHING,
        &[
            ("4", "The answer is 4. No: 5."),
            ("4", "The answer is 4. Wait, 5."),
            ("4", "The answer is 4 or five."),
            ("4", "The answer is 4? No."),
            ("4", "The answer is 4, which is wrong."),
            ("72", "<answer>72</answer> or maybe 71"),
            ("4", "The answer is not 4."),
            ("10", "Final Answer: 9. The final answer is $10$. I hope it is correct."),
        ],
    );
}

#[test]
fn announcements_that_agree_pass() {
    pass(
        &SEARCHING,
        &[
            ("10", "Final Answer: The final answer is $10$. I hope it is correct."),
            ("10", "**Final Answer:** The answer is 10."),
            ("10", "Answer: The final answer is: $10$"),
            ("10", "Answer: 10. The answer is 10."),
            ("10", r"Final Answer: The final answer is $\boxed{10}$. I hope it is correct."),
            ("x+1", "Final Answer: The final answer is $x+1$. I hope it is correct."),
            ("5", "The answer is 5, not 4."),
            ("5", "The answer is 5. No other value works."),
            ("5", "The answer is 5. It's not 4."),
            ("7", "**Final Answer**: 7"),
            ("7", "**Answer**: $7$"),
        ],
    );
}

#[test]
fn the_last_answer_counts_where_one_is_not_asked_for() {
    for mode in EVERY {
        let settings = MathSettings { mode, one_final: false, ..MathSettings::default() };
        assert_eq!(
            verdict_with(settings, "4", r"\boxed{4} is wrong, the answer is 5").status,
            Status::Pass,
            "{mode:?}"
        );
    }
}
