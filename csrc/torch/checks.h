// Checks at the boundary: each failure is one error that names the argument.
#pragma once

#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

#include "params/params.h"
#include "require.h"

namespace pararnn {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

constexpr int64_t kAnySize = -1;

// A CPU tensor of this dtype and shape (kAnySize: any), contiguous.
void check_tensor(const char* name, const Tensor& tensor, ScalarType dtype,
                  std::initializer_list<int64_t> shape);

void check_tensor(const char* name, const Tensor& tensor, ScalarType dtype,
                  const std::vector<int64_t>& shape);

// The same, but only the last dimension need be contiguous.
void check_rows(const char* name, const Tensor& tensor, ScalarType dtype,
                std::initializer_list<int64_t> shape);

// The same two, of a tensor on GPU `device`.
void check_cuda_tensor(const char* name, const Tensor& tensor, int32_t device, ScalarType dtype,
                       std::initializer_list<int64_t> shape);
void check_cuda_rows(const char* name, const Tensor& tensor, int32_t device, ScalarType dtype,
                     std::initializer_list<int64_t> shape);

// A contiguous CPU tensor of this shape, float32 or bfloat16.
DType check_weight(const char* name, const Tensor& tensor, std::initializer_list<int64_t> shape);

// cu_seqlens (S + 1) int32: starts at 0, never falls, ends at `tokens`. Returns S.
int64_t check_cu_seqlens(const Tensor& cu_seqlens, int64_t tokens);

// slots (S) int32: kPadSlotId or in [0, num_slots), none twice; has_initial_state (S) bool, absent: all.
Sequences check_sequences(const Tensor& cu_seqlens, const Tensor& slots,
                          const std::optional<Tensor>& has_initial_state, int64_t tokens, int64_t num_slots);

// Shape and format of a packed matrix, its data not yet known.
PackedMatrix described_matrix(int64_t format, const BlockShape& shape, int64_t group_size);

// Every sequence has a token.
void check_no_empty_sequence(const Sequences& sequences);

// The values of an int32 or int64 vector, each in [0, end), in the memory of `into`.
void read_indices(const char* name, const Tensor& indices, int64_t end, std::vector<int64_t>& into);

// The value of an enum from its number: one of the first `count`.
template <class Choice>
Choice check_choice(const char* name, int64_t number, int64_t count = 2) {
  PARARNN_REQUIRE(number >= 0 && number < count, name, ": expected 0 to ", count - 1, ", got ", number);
  return Choice(number);
}

// The cell of this number, and what it takes.
const CellSizes& check_cell(int64_t number);

// c is there exactly when the cell has peepholes.
void check_has_peepholes(const CellSizes& cell, bool has_c);

Tensor empty_cpu(std::initializer_list<int64_t> shape, ScalarType dtype = ScalarType::Float);

}  // namespace pararnn
