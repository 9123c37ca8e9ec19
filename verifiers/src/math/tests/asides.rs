//! What is written around a value without being a part of it: names, bases, articles, spacing, marks for units.

use super::{different, same};

#[test]
fn names_that_hold_a_relation_may_be_left_off() {
    same(&[
        ("1/2", r"\mathbb{P}(A \mid B)=\frac12"),
        ("1/2", r"P(X \ge 2) = 0.5"),
        ("3", r"\mathbb{E}[X]=3"),
        ("3", r"E[X \mid Y=1] = 3"),
        ("3", r"\operatorname{Var}(X|Y) = 3"),
        (r"P(A \mid B)=\frac12", "0.5"),
        (r"P(A \mid B)=\frac12", r"P(A\mid B) = 0.5"),
    ]);
    different(&[
        ("1/2", r"\mathbb{P}(A \mid B)=\frac13"),
        (r"P(A \mid B)=\frac12", r"P(B \mid A)=\frac12"),
        ("1/2", r"2P(A \mid B)=\frac12"),
        ("1/2", r"P(A \mid B)>\frac12"),
        ("1/2", r"P(A \mid B)=\frac12=\frac13"),
    ]);
}

#[test]
fn a_base_that_is_asked_for_may_be_left_off() {
    same(&[("1011_2", "1011"), ("(204)_5", "204"), (r"77_{\text{eight}}", "77"), ("2A_{16}", "2A")]);
    different(&[
        ("1011", "1011_2"),
        ("1011_2", "1011_3"),
        ("1011_2", "1101"),
        ("1011_2", "1011_{10}"),
        ("204_5", "402"),
    ]);
}

#[test]
fn articles_say_nothing() {
    same(&[
        ("ellipse", r"\text{an ellipse}"),
        ("an ellipse", r"\text{ellipse}"),
        (r"\text{the unit circle}", "unit circle"),
        ("a right triangle", r"\text{right triangle}"),
        ("No solution", r"\text{no solutions}"),
        ("no real solutions", r"\emptyset"),
    ]);
    different(&[
        ("ellipse", r"\text{a hyperbola}"),
        ("a right triangle", r"\text{an acute triangle}"),
        ("no solution", r"\text{one solution}"),
        ("a", "the"),
    ]);
}

#[test]
fn spacing_labels_and_numbers_of_lines_say_nothing() {
    same(&[
        ("12", r"12\hspace{1cm}"),
        ("12", r"12\hspace*{0.5em}\text{cm}"),
        ("12", r"\vspace{2mm}12"),
        ("x+1", r"x+1 \tag{1}"),
        ("x+1", r"x+1\tag*{(2)}"),
        ("12", r"12 \label{eq:answer}"),
        ("12", r"12\phantom{\frac{1}{2}}"),
        ("3:45", "3{:}45"),
    ]);
    different(&[("121", r"12\tag{1}"), ("120", r"12\phantom{0}"), ("12", r"12\hspace{1cm}3"), ("12", r"12\tag{1")]);
}

#[test]
fn double_quotes_behind_a_number_are_inches() {
    same(&[
        ("2 feet", "24\""),
        ("24 inches", "24\""),
        ("24\"", r"2\text{ ft}"),
        ("6'2\"", r"74\text{ inches}"),
        ("5' 10\"", r"5\text{ ft }10\text{ in}"),
        ("24", "\"24\""),
        ("2 minutes", "120''"),
    ]);
    different(&[("2 feet", "20\""), ("24\"", "24'"), ("6'2\"", r"62\text{ inches}"), ("24 cm", "24\"")]);
}

#[test]
fn an_interval_from_a_number_to_itself_is_that_number() {
    same(&[("[1,1]", r"\{1\}"), (r"\{2\}", "[2,2]"), (r"[\frac12, 0.5]", r"\{0.5\}")]);
    different(&[("[1,2]", r"\{1,2\}"), ("(1,1)", r"\{1\}"), ("[1,1]", r"\{2\}"), ("[1,2]", r"\{1\}")]);
}

#[test]
fn small_numbers_in_words_are_numbers() {
    same(&[("17", r"\text{seventeen}"), ("seven", "7"), ("42", r"\text{forty-two}"), ("0", "zero")]);
    different(&[
        ("17", r"\text{seventy}"),
        ("70", r"\text{seventeen}"),
        ("42", r"\text{twenty-four}"),
        ("20", "twenty-zero"),
    ]);
}

#[test]
fn a_gold_answer_may_be_the_end_of_a_solution() {
    same(&[("#### 4", "4"), ("He has 3+4=<<3+4=7>>7 apples.\n#### 7", "7"), ("#### 1,234", "1234")]);
    different(&[("He has 3+4=7 apples.\n#### 7", "3"), ("#### 4", "5")]);
}
