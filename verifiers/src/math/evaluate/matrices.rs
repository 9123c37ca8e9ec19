//! Arithmetic of matrices.

use dashu::Rational;

use super::{Done, Evaluator, form_of};
use crate::math::answer::Answer;
use crate::math::budget::Unread;
use crate::math::number;
use crate::math::quotient::Quotient;
use crate::math::tree::Node;

/// Rows of a determinant; it is expanded along its first row.
const MAX_DETERMINANT_ROWS: usize = 6;

/// A matrix of forms.
struct Matrix {
    rows: usize,
    cells: Vec<Quotient>,
}

impl Matrix {
    fn of(answer: Answer) -> Result<Self, Unread> {
        match answer {
            Answer::Matrix { rows, cells } => {
                let cells = cells.into_iter().map(form_of).collect::<Result<Vec<_>, _>>()?;
                if cells.len() % rows != 0 {
                    return Err(Unread::Malformed("rows of different length"));
                }
                Ok(Self { rows, cells })
            }
            _ => Err(Unread::Unsupported("arithmetic of a matrix with something else".into())),
        }
    }

    fn columns(&self) -> usize {
        self.cells.len() / self.rows
    }

    fn into_answer(self) -> Answer {
        Answer::Matrix { rows: self.rows, cells: self.cells.into_iter().map(Answer::plain).collect() }
    }
}

impl Evaluator<'_> {
    /// Whether an operand of an arithmetic operation is a matrix.
    pub(super) fn has_matrix(&self, node: &Node, done: &Done) -> bool {
        match node {
            Node::Add(a, b)
            | Node::Subtract(a, b)
            | Node::Multiply(a, b)
            | Node::Cross(a, b)
            | Node::Divide(a, b)
            | Node::Power(a, b) => done.is_matrix(*a) || done.is_matrix(*b),
            Node::Absolute(a) => done.is_matrix(*a),
            _ => false,
        }
    }

    pub(super) fn matrix_operation(&mut self, node: &Node, done: &mut Done) -> Result<Answer, Unread> {
        match node {
            Node::Add(a, b) | Node::Subtract(a, b) => {
                let (a, b) = (Matrix::of(done.take(*a)?)?, Matrix::of(done.take(*b)?)?);
                if a.rows != b.rows || a.cells.len() != b.cells.len() {
                    return Err(Unread::Malformed("a sum of matrices of different shapes"));
                }
                let minus = matches!(node, Node::Subtract(..));
                let mut cells = Vec::with_capacity(a.cells.len());
                for (x, y) in a.cells.iter().zip(&b.cells) {
                    cells.push(if minus { x.subtract(y, self.budget)? } else { x.add(y, self.budget)? });
                }
                Ok(Matrix { rows: a.rows, cells }.into_answer())
            }
            Node::Multiply(a, b) | Node::Cross(a, b) => {
                let both = done.is_matrix(*a) && done.is_matrix(*b);
                let (a, b) = (done.take(*a)?, done.take(*b)?);
                match (a, b) {
                    (a, b) if both => self.product(&Matrix::of(a)?, &Matrix::of(b)?).map(Matrix::into_answer),
                    (matrix @ Answer::Matrix { .. }, factor) | (factor, matrix) => {
                        self.scaled(matrix, form_of(factor)?)
                    }
                }
            }
            Node::Divide(a, b) => {
                let by = done.form(*b)?.invert(self.budget)?;
                self.scaled(done.take(*a)?, by)
            }
            Node::Power(a, b) => {
                let exponent = done.form(*b)?;
                self.matrix_power(Matrix::of(done.take(*a)?)?, &exponent)
            }
            Node::Absolute(a) => match done.take(*a)? {
                Answer::Matrix { rows, cells } => self.determinant(rows, cells).map(Answer::plain),
                _ => Err(Unread::Unsupported("an absolute value of something else".into())),
            },
            _ => Err(Unread::Unsupported("an operation on matrices".into())),
        }
    }

    fn scaled(&mut self, matrix: Answer, factor: Quotient) -> Result<Answer, Unread> {
        let Matrix { rows, cells } = Matrix::of(matrix)?;
        let cells = cells.iter().map(|cell| cell.multiply(&factor, self.budget)).collect::<Result<_, _>>()?;
        Ok(Matrix { rows, cells }.into_answer())
    }

    fn product(&mut self, a: &Matrix, b: &Matrix) -> Result<Matrix, Unread> {
        if a.columns() != b.rows {
            return Err(Unread::Malformed("a product of matrices of different shapes"));
        }
        let mut cells = Vec::with_capacity(a.rows * b.columns());
        for row in a.cells.chunks(a.columns()) {
            for column in 0..b.columns() {
                let mut sum = Quotient::rational(Rational::ZERO);
                for (x, y) in row.iter().zip(b.cells.iter().skip(column).step_by(b.columns())) {
                    sum = sum.add(&x.multiply(y, self.budget)?, self.budget)?;
                }
                cells.push(sum);
            }
        }
        Ok(Matrix { rows: a.rows, cells })
    }

    /// A small natural power, or the transpose for an exponent `T`.
    fn matrix_power(&mut self, base: Matrix, exponent: &Quotient) -> Result<Answer, Unread> {
        if exponent.to_string() == "1*T" {
            let columns = base.columns();
            let cells = (0..base.cells.len()).map(|at| {
                let (row, column) = (at / base.rows, at % base.rows);
                base.cells[column * columns + row].clone()
            });
            return Ok(Matrix { rows: columns, cells: cells.collect() }.into_answer());
        }
        match exponent.as_rational().as_ref().and_then(number::small_integer) {
            Some(n @ 1..=16) => {
                let mut power = Matrix { rows: base.rows, cells: base.cells.clone() };
                for _ in 1..n {
                    power = self.product(&power, &base)?;
                }
                Ok(power.into_answer())
            }
            _ => Err(Unread::Unsupported("this power of a matrix".into())),
        }
    }

    pub(super) fn determinant(&mut self, rows: usize, cells: Vec<Answer>) -> Result<Quotient, Unread> {
        let matrix = Matrix::of(Answer::Matrix { rows, cells })?;
        if matrix.columns() != rows {
            return Err(Unread::Malformed("a determinant that is not square"));
        }
        if rows > MAX_DETERMINANT_ROWS {
            return Err(Unread::Limit("rows of a determinant"));
        }
        self.expanded(&matrix.cells, rows)
    }

    fn expanded(&mut self, cells: &[Quotient], rows: usize) -> Result<Quotient, Unread> {
        if rows == 1 {
            return Ok(cells[0].clone());
        }
        let mut sum = Quotient::rational(Rational::ZERO);
        for column in 0..rows {
            let minor: Vec<Quotient> =
                (rows..rows * rows).filter(|at| at % rows != column).map(|at| cells[at].clone()).collect();
            let term = cells[column].multiply(&self.expanded(&minor, rows - 1)?, self.budget)?;
            sum = if column % 2 == 0 { sum.add(&term, self.budget)? } else { sum.subtract(&term, self.budget)? };
        }
        Ok(sum)
    }
}
