// Where each training sample begins, in a stream of documents laid end to end.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <stdexcept>
#include <vector>

namespace py = pybind11;

// Row i of the result is (position in doc_idx, offset in that document) of sample i's first token. A sample
// has seq_length + 1 tokens, and its last one is the next sample's first. The last row ends the last sample.
py::array_t<int32_t> build_sample_idx(const py::array_t<int32_t> &sizes_, const py::array_t<int32_t> &doc_idx_,
                                      const int32_t seq_length, const int32_t num_epochs,
                                      const int64_t tokens_per_epoch) {
  const auto sizes = sizes_.unchecked<1>();
  const auto doc_idx = doc_idx_.unchecked<1>();
  if (seq_length < 1 || num_epochs < 1 || tokens_per_epoch < 2) {
    throw std::invalid_argument("build_sample_idx: lengths must be positive");
  }
  const int64_t samples = (num_epochs * tokens_per_epoch - 1) / seq_length;
  py::array_t<int32_t> result(std::vector<py::ssize_t>{samples + 1, 2});
  auto rows = result.mutable_unchecked<2>();

  py::ssize_t document = 0;
  int64_t offset = 0;
  rows(0, 0) = 0;
  rows(0, 1) = 0;
  for (int64_t sample = 1; sample <= samples; ++sample) {
    int64_t steps = seq_length;
    while (true) {
      if (document >= doc_idx.shape(0)) {
        throw std::out_of_range("build_sample_idx: fewer tokens than the epochs promise");
      }
      const int64_t left = sizes(doc_idx(document)) - offset;
      if (steps < left) {
        offset += steps;
        break;
      }
      steps -= left;
      offset = 0;
      ++document;
    }
    rows(sample, 0) = static_cast<int32_t>(document);
    rows(sample, 1) = static_cast<int32_t>(offset);
  }
  return result;
}

// The Makefile says the module's name.
PYBIND11_MODULE(MODULE, m) {
  m.def("build_sample_idx", &build_sample_idx, "Where each training sample begins");
}
