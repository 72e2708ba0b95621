#include "torch/checks.h"

#include <torch/csrc/stable/ops.h>

namespace pararnn {
namespace {

template <class Shape>
std::string describe_shape(const Shape& shape) {
  std::string text = "(";
  for (const int64_t size : shape)
    text += (text.size() > 1 ? ", " : "") + (size < 0 ? "*" : std::to_string(size));
  return text + ")";
}

std::string describe(const Tensor& tensor) {
  std::string text = "(";
  for (const int64_t size : tensor.sizes()) text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  return text + ")";
}

const char* dtype_name(ScalarType dtype) {
  switch (dtype) {
    case ScalarType::Float:
      return "float32";
    case ScalarType::BFloat16:
      return "bfloat16";
    case ScalarType::Int:
      return "int32";
    case ScalarType::Long:
      return "int64";
    case ScalarType::Double:
      return "float64";
    case ScalarType::Bool:
      return "bool";
    default:
      return "of another dtype";
  }
}

template <class Shape>
bool has_shape(const Tensor& tensor, const Shape& shape) {
  if (tensor.dim() != int64_t(shape.size())) return false;
  int64_t dim = 0;
  for (const int64_t size : shape) {
    if (size != kAnySize && tensor.size(dim) != size) return false;
    ++dim;
  }
  return true;
}

void check_slots(const Tensor& slots, int64_t sequences, int64_t num_slots) {
  check_tensor("slots", slots, ScalarType::Int, {sequences});
  std::vector<bool> used(size_t(num_slots), false);
  const int32_t* const values = slots.const_data_ptr<int32_t>();
  for (int64_t s = 0; s < sequences; ++s) {
    const int64_t slot = values[s];
    if (slot == kPadSlotId) continue;
    PARARNN_REQUIRE(slot >= 0 && slot < num_slots, "slots: ", slot, " is not in [0, ", num_slots, ") nor ",
                    kPadSlotId);
    PARARNN_REQUIRE(!used[size_t(slot)], "slots: ", slot, " stands twice");
    used[size_t(slot)] = true;
  }
}

template <class Shape>
void check_form(const char* name, const Tensor& tensor, ScalarType dtype, const Shape& shape) {
  PARARNN_REQUIRE(tensor.scalar_type() == dtype, name, ": expected ", dtype_name(dtype),
                  ", got a tensor that is ", dtype_name(tensor.scalar_type()));
  PARARNN_REQUIRE(has_shape(tensor, shape), name, ": expected shape ", describe_shape(shape), ", got ",
                  describe(tensor));
  const int64_t last = tensor.dim() - 1;
  PARARNN_REQUIRE(tensor.numel() == 0 || tensor.size(last) == 1 || tensor.stride(last) == 1, name,
                  ": the last dimension must be contiguous");
}

bool is_on_gpu(const Tensor& tensor, int32_t device) {
#ifdef PARARNN_CUDA_HOST  // tests, where fibers stand for a GPU
  return tensor.is_cpu() && tensor.get_device_index() == device;
#else
  return tensor.is_cuda() && tensor.get_device_index() == device;
#endif
}

void check_contiguous(const char* name, const Tensor& tensor) {
  PARARNN_REQUIRE(tensor.numel() == 0 || tensor.is_contiguous(), name, ": must be contiguous");
}

}  // namespace

void check_rows(const char* name, const Tensor& tensor, ScalarType dtype,
                std::initializer_list<int64_t> shape) {
  PARARNN_REQUIRE(tensor.is_cpu(), name, ": expected a CPU tensor");
  check_form(name, tensor, dtype, shape);
}

void check_tensor(const char* name, const Tensor& tensor, ScalarType dtype,
                  std::initializer_list<int64_t> shape) {
  check_rows(name, tensor, dtype, shape);
  check_contiguous(name, tensor);
}

void check_tensor(const char* name, const Tensor& tensor, ScalarType dtype,
                  const std::vector<int64_t>& shape) {
  PARARNN_REQUIRE(tensor.is_cpu(), name, ": expected a CPU tensor");
  check_form(name, tensor, dtype, shape);
  check_contiguous(name, tensor);
}

void check_cuda_rows(const char* name, const Tensor& tensor, int32_t device, ScalarType dtype,
                     std::initializer_list<int64_t> shape) {
  PARARNN_REQUIRE(is_on_gpu(tensor, device), name, ": expected a tensor on CUDA device ", device);
  check_form(name, tensor, dtype, shape);
}

void check_cuda_tensor(const char* name, const Tensor& tensor, int32_t device, ScalarType dtype,
                       std::initializer_list<int64_t> shape) {
  check_cuda_rows(name, tensor, device, dtype, shape);
  check_contiguous(name, tensor);
}

DType check_weight(const char* name, const Tensor& tensor, std::initializer_list<int64_t> shape) {
  const ScalarType dtype = tensor.scalar_type();
  PARARNN_REQUIRE(dtype == ScalarType::Float || dtype == ScalarType::BFloat16, name,
                  ": expected float32 or bfloat16, got a tensor that is ", dtype_name(dtype));
  check_tensor(name, tensor, dtype, shape);
  return dtype == ScalarType::Float ? DType::kFloat32 : DType::kBFloat16;
}

int64_t check_cu_seqlens(const Tensor& cu_seqlens, int64_t tokens) {
  check_tensor("cu_seqlens", cu_seqlens, ScalarType::Int, {kAnySize});
  const int64_t sequences = cu_seqlens.size(0) - 1;
  PARARNN_REQUIRE(sequences >= 0, "cu_seqlens: expected at least one entry");
  const int32_t* const ends = cu_seqlens.const_data_ptr<int32_t>();
  PARARNN_REQUIRE(ends[0] == 0, "cu_seqlens: must start at 0, got ", ends[0]);
  for (int64_t s = 0; s < sequences; ++s) {
    PARARNN_REQUIRE(ends[s] <= ends[s + 1], "cu_seqlens: must not fall, but entry ", s + 1, " is ",
                    ends[s + 1], " after ", ends[s]);
  }
  PARARNN_REQUIRE(ends[sequences] == tokens, "cu_seqlens: must end at the number of tokens ", tokens,
                  ", got ", ends[sequences]);
  return sequences;
}

Sequences check_sequences(const Tensor& cu_seqlens, const Tensor& slots,
                          const std::optional<Tensor>& has_initial_state, int64_t tokens, int64_t num_slots) {
  const int64_t count = check_cu_seqlens(cu_seqlens, tokens);
  check_slots(slots, count, num_slots);
  if (has_initial_state.has_value())
    check_tensor("has_initial_state", *has_initial_state, ScalarType::Bool, {count});
  return {count, cu_seqlens.const_data_ptr<int32_t>(), slots.const_data_ptr<int32_t>(),
          has_initial_state.has_value() ? has_initial_state->const_data_ptr<bool>() : nullptr};
}

PackedMatrix described_matrix(int64_t format, const BlockShape& shape, int64_t group_size) {
  PARARNN_REQUIRE(format >= 0 && format <= int64_t(WeightFormat::kInt4), "format: expected 0 to 3, got ",
                  format);
  PARARNN_REQUIRE(shape.heads > 0 && shape.gates > 0 && shape.inputs > 0 && shape.outputs > 0,
                  "weight: no dimension may be 0");
  const PackedMatrix matrix{shape, WeightFormat(format), group_size, nullptr};
  if (is_quantized(matrix.format)) {
    PARARNN_REQUIRE(group_size >= kGroupStep && group_size <= kMaxGroupSize && group_size % kGroupStep == 0,
                    "group_size: expected a multiple of ", kGroupStep, " up to ", kMaxGroupSize, ", got ",
                    group_size);
  } else {
    PARARNN_REQUIRE(group_size == 0, "group_size: only for integers, got ", group_size);
  }
  return matrix;
}

void check_no_empty_sequence(const Sequences& sequences) {
  for (int64_t s = 0; s < sequences.count; ++s) {
    PARARNN_REQUIRE(sequences.cu_seqlens[s] < sequences.cu_seqlens[s + 1],
                    "cu_seqlens: must increase, but sequence ", s, " has no token and so no last row");
  }
}

void read_indices(const char* name, const Tensor& indices, int64_t end, std::vector<int64_t>& into) {
  const bool narrow = indices.scalar_type() == ScalarType::Int;
  check_tensor(name, indices, narrow ? ScalarType::Int : ScalarType::Long, {kAnySize});
  into.resize(size_t(indices.size(0)));
  for (size_t i = 0; i < into.size(); ++i) {
    into[i] = narrow ? indices.const_data_ptr<int32_t>()[i] : indices.const_data_ptr<int64_t>()[i];
    PARARNN_REQUIRE(into[i] >= 0 && into[i] < end, name, ": ", into[i], " is not in [0, ", end, ")");
  }
}

const CellSizes& check_cell(int64_t number) {
  constexpr int64_t kCount = sizeof(kCells) / sizeof(kCells[0]);
  PARARNN_REQUIRE(number >= 0 && number < kCount, "cell: expected 0 to ", kCount - 1, ", got ", number);
  return kCells[number];
}

void check_has_peepholes(const CellSizes& cell, bool has_c) {
  const bool needs_c = cell.peepholes > 0;
  PARARNN_REQUIRE(has_c == needs_c, "c: the cell \"", cell.name, "\" ",
                  needs_c ? "needs its peepholes" : "has no peepholes");
}

Tensor empty_cpu(std::initializer_list<int64_t> shape, ScalarType dtype) {
  const std::vector<int64_t> sizes(shape);
  return torch::stable::empty(sizes, dtype);
}

}  // namespace pararnn
