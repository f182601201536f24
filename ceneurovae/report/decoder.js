// The decoder of a model, in plain JavaScript: carries out the program of decoder_program.py.
//
// A matrix is {rows, columns, data}, data a Float32Array with one row behind another. Sums are
// accumulated in double precision.
(function () {
  "use strict";

  function makeMatrix(rows, columns, data) {
    return { rows, columns, data: data || new Float32Array(rows * columns) };
  }

  // The error is below 1.5e-7 (Abramowitz & Stegun, "Handbook of mathematical functions", 7.1.26).
  function erf(x) {
    const t = 1 / (1 + 0.3275911 * Math.abs(x));
    const series =
      t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
    return Math.sign(x) * (1 - series * Math.exp(-x * x));
  }

  const sigmoid = (x) => 1 / (1 + Math.exp(-x));
  const activations = {
    linear: (x) => x,
    silu: (x) => x * sigmoid(x),
    gelu: (x) => 0.5 * x * (1 + erf(x / Math.SQRT2)),
    exp: Math.exp,
    sigmoid,
  };

  // Adds row (n) times kernel (n, m) to the sums (m). Four rows of the kernel at a time take less
  // than half as long as one by one.
  function addProduct(sums, row, kernel) {
    const columns = sums.length;
    const fours = row.length - (row.length % 4);
    for (let k = 0; k < fours; k += 4) {
      const [a, b, c, d] = [row[k], row[k + 1], row[k + 2], row[k + 3]];
      const first = k * columns;
      const second = first + columns;
      const third = second + columns;
      const fourth = third + columns;
      for (let j = 0; j < columns; j++)
        sums[j] +=
          a * kernel[first + j] + b * kernel[second + j] + c * kernel[third + j] + d * kernel[fourth + j];
    }
    for (let k = fours; k < row.length; k++)
      for (let j = 0; j < columns; j++) sums[j] += row[k] * kernel[k * columns + j];
  }

  const rowOf = (x, r) => x.data.subarray(r * x.columns, (r + 1) * x.columns);

  function matrixProduct(x, kernel, bias) {
    const out = makeMatrix(x.rows, kernel.length / x.columns);
    const sums = new Float64Array(out.columns);
    for (let r = 0; r < x.rows; r++) {
      if (bias) sums.set(bias);
      else sums.fill(0);
      addProduct(sums, rowOf(x, r), kernel);
      out.data.set(sums, r * out.columns);
    }
    return out;
  }

  function apply(x, name) {
    const activate = activations[name || "linear"];
    return makeMatrix(x.rows, x.columns, x.data.map(activate));
  }

  function withTable(x, table, combine) {
    const rows = table.length / x.columns;
    const data = table.map((value, i) => combine(x.data[i % x.data.length], value));
    return makeMatrix(rows, x.columns, data);
  }

  function softmax(scores) {
    const largest = scores.reduce((a, b) => Math.max(a, b), -Infinity);
    let total = 0;
    for (let i = 0; i < scores.length; i++) total += scores[i] = Math.exp(scores[i] - largest);
    for (let i = 0; i < scores.length; i++) scores[i] /= total;
  }

  // Row t attends to all rows, with its own columns for each head.
  function attend(query, key, value, heads) {
    const out = makeMatrix(query.rows, value.columns);
    const size = query.columns / heads;
    const weights = new Float64Array(key.rows);
    for (let head = 0; head < heads; head++) {
      for (let t = 0; t < query.rows; t++) {
        const q = t * query.columns + head * size;
        for (let s = 0; s < key.rows; s++) {
          const k = s * key.columns + head * size;
          let product = 0;
          for (let i = 0; i < size; i++) product += query.data[q + i] * key.data[k + i];
          weights[s] = product / Math.sqrt(size);
        }
        softmax(weights);
        for (let i = 0; i < size; i++) {
          let mean = 0;
          for (let s = 0; s < key.rows; s++)
            mean += weights[s] * value.data[s * value.columns + head * size + i];
          out.data[q + i] = mean;
        }
      }
    }
    return out;
  }

  // What enters the gates at each step is x times kernel plus bias; `step` makes a state of it.
  function recur(x, kernel, bias, units, step) {
    const inputs = matrixProduct(x, kernel, bias);
    const out = makeMatrix(x.rows, units);
    const state = new Float64Array(units);
    for (let t = 0; t < x.rows; t++) {
      step(rowOf(inputs, t), state);
      out.data.set(state, t * units);
    }
    return out;
  }

  // Each operation: (x, operation, weight), where weight(place) is a Float32Array.
  const operations = {
    dense(x, { kernel, bias, activation }, weight) {
      return apply(matrixProduct(x, weight(kernel), bias && weight(bias)), activation);
    },

    // Matrix (rows, x.rows) times x.
    mixRows(x, { matrix, rows }, weight) {
      const left = makeMatrix(rows, x.rows, weight(matrix));
      return matrixProduct(left, x.data);
    },

    reshape(x, { columns }) {
      return makeMatrix(x.data.length / columns, columns, x.data);
    },

    scale(x, { factors }, weight) {
      const data = weight(factors).map((factor, j) => (j < x.columns ? factor * x.data[j] : 0));
      return makeMatrix(1, data.length, data);
    },

    times(x, { factor }) {
      return makeMatrix(x.rows, x.columns, x.data.map((value) => factor * value));
    },

    limit(x, { at }) {
      const data = x.data.map((value) => value / Math.sqrt(1 + (value / at) ** 2));
      return makeMatrix(x.rows, x.columns, data);
    },

    timesTable(x, { table }, weight) {
      return withTable(x, weight(table), (a, b) => a * b);
    },

    plusTable(x, { table }, weight) {
      return withTable(x, weight(table), (a, b) => a + b);
    },

    sum(x, { terms }, weight) {
      const [first, ...others] = terms.map((term) => run(term, x, weight));
      const data = Float32Array.from(first.data);
      for (const other of others) other.data.forEach((value, i) => (data[i] += value));
      return makeMatrix(first.rows, first.columns, data);
    },

    // Over time, with zeros beyond the ends, as many in front as behind or one fewer.
    convolution(x, { kernel, bias, size, dilation, activation }, weight) {
      const offsets = weight(bias);
      const taps = weight(kernel);
      const out = makeMatrix(x.rows, offsets.length);
      const length = x.columns * out.columns;
      const front = Math.floor((dilation * (size - 1)) / 2);
      const sums = new Float64Array(out.columns);
      for (let t = 0; t < x.rows; t++) {
        sums.set(offsets);
        for (let tap = 0; tap < size; tap++) {
          const source = t + tap * dilation - front;
          if (source < 0 || source >= x.rows) continue;
          addProduct(sums, rowOf(x, source), taps.subarray(tap * length, (tap + 1) * length));
        }
        out.data.set(sums, t * out.columns);
      }
      return apply(out, activation);
    },

    // Over the columns of each row.
    norm(x, { gamma, beta, epsilon }, weight) {
      const factors = weight(gamma);
      const offsets = weight(beta);
      const out = makeMatrix(x.rows, x.columns);
      for (let r = 0; r < x.rows; r++) {
        const row = rowOf(x, r);
        const mean = row.reduce((a, b) => a + b, 0) / x.columns;
        const variance = row.reduce((a, b) => a + (b - mean) ** 2, 0) / x.columns;
        const scale = 1 / Math.sqrt(variance + epsilon);
        row.forEach((value, j) => {
          out.data[r * x.columns + j] = (value - mean) * scale * factors[j] + offsets[j];
        });
      }
      return out;
    },

    attention(x, { heads, query, key, value, output }, weight) {
      const dense = (matrix, part) => operations.dense(matrix, part, weight);
      return dense(attend(dense(x, query), dense(x, key), dense(x, value), heads), output);
    },

    // Gates update, reset, candidate; the reset gate is applied after the recurrent product.
    gru(x, { kernel, recurrent, bias }, weight) {
      const both = weight(bias);
      const units = both.length / 6;
      const sums = new Float64Array(3 * units);
      return recur(x, weight(kernel), both.subarray(0, 3 * units), units, (inputs, state) => {
        sums.set(both.subarray(3 * units));
        addProduct(sums, state, weight(recurrent));
        for (let i = 0; i < units; i++) {
          const update = sigmoid(inputs[i] + sums[i]);
          const reset = sigmoid(inputs[units + i] + sums[units + i]);
          const candidate = Math.tanh(inputs[2 * units + i] + reset * sums[2 * units + i]);
          state[i] = update * state[i] + (1 - update) * candidate;
        }
      });
    },

    // Gates input, forget, candidate, output.
    lstm(x, { kernel, recurrent, bias }, weight) {
      const units = weight(bias).length / 4;
      const sums = new Float64Array(4 * units);
      const cell = new Float64Array(units);
      return recur(x, weight(kernel), weight(bias), units, (inputs, state) => {
        sums.set(inputs);
        addProduct(sums, state, weight(recurrent));
        for (let i = 0; i < units; i++) {
          const candidate = Math.tanh(sums[2 * units + i]);
          cell[i] = sigmoid(sums[units + i]) * cell[i] + sigmoid(sums[i]) * candidate;
          state[i] = sigmoid(sums[3 * units + i]) * Math.tanh(cell[i]);
        }
      });
    },

    // Columns times factors plus offsets.
    affine(x, { factors, offsets }) {
      const data = x.data.map((value, i) => value * factors[i % x.columns] + offsets[i % x.columns]);
      return makeMatrix(x.rows, x.columns, data);
    },

    link(x, { function: name, limit }) {
      const within = x.data.map((value) => Math.min(Math.max(value, -limit), limit));
      return apply(makeMatrix(x.rows, x.columns, within), name);
    },
  };

  function run(program, x, weight) {
    return program.reduce((value, operation) => operations[operation.op](value, operation, weight), x);
  }

  // The function latents (Z) -> window (T * C), time by time, in raw units, both Float32Array.
  function makeDecoder(program, integers) {
    const weights = new Map();
    function weight(place) {
      if (!weights.has(place)) {
        const [offset, size, step] = place;
        const values = Float32Array.from(integers.subarray(offset, offset + size));
        weights.set(place, values.map((value) => step * value));
      }
      return weights.get(place);
    }
    return (z) => run(program, makeMatrix(1, z.length, z), weight).data;
  }

  window.ceneurovae = Object.assign(window.ceneurovae || {}, { makeDecoder });
})();
