#include "cpu/simd/isa.h"
#include "cpu/threads/thread_pool.h"
#include "params/cells.h"
#include "require.h"
#include "torch/checks.h"
#include "torch/ops.h"

namespace pararnn {

std::string cells_op() {
  std::string lines;
  for (const CellSizes& cell : kCells) {
    lines += cell.name;
    for (const int64_t size : {cell.gates, cell.states, cell.peepholes}) lines += " " + std::to_string(size);
    lines += "\n";
  }
  return lines;
}

int64_t recurrent_rows_op(int64_t cell) { return check_cell(cell).recurrent; }

std::string isa_level_op() { return isa_name(isa_level()); }

std::string available_isa_levels_op() { return available_isa_levels(); }

int64_t num_threads_op() { return num_threads(); }

void set_num_threads_op(int64_t count) {
  PARARNN_REQUIRE(count >= 1 && count <= 1024, "count: expected 1 to 1024 threads, got ", count);
  set_num_threads(count);
}

}  // namespace pararnn
