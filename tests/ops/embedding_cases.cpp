#include "support/problems.h"

namespace gale {
namespace {

TEST(Embedding, looks_up_rows_of_each_weight_type) {
  const auto harness = make_harness();
  harness->for_each_variant(&OpTable::embedding, [&] {
    for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
      for (const int64_t width : {1, 15, 17, 256}) {
        const Values table = random_values(9 * width, 1, dtype);
        const std::vector<int> ids{8, 0, 3, 3, 7};
        const Tensor out = harness->output({5, width});
        harness->call<EmbeddingArgs>(
            embedding, &OpTable::embedding,
            {.out = out, .ids = harness->ints(ids, {5}), .table = harness->put(table, {9, width}, dtype)});
        Values want;
        for (const int id : ids) want.insert(want.end(), table.begin() + id * width, table.begin() + (id + 1) * width);
        expect_close(harness->get(out), want, width, harness->activation());
      }
    }
  });
}

TEST(Embedding, of_no_tokens_is_legal) {
  const auto harness = make_harness();
  const Tensor table = harness->put(random_values(8, 1, DType::kBF16), {2, 4}, DType::kBF16);
  harness->call<EmbeddingArgs>(embedding, &OpTable::embedding,
                               {.out = harness->output({0, 4}), .ids = harness->ints<int>({}, {0}), .table = table});
}

TEST(GatherRows, copies_the_rows_asked_for) {
  const auto harness = make_harness();
  harness->for_each_variant(&OpTable::gather_rows, [&] {
    const Values in = random_values(6 * 17, 2, harness->activation());
    const Tensor out = harness->output({3, 17});
    harness->call<GatherRowsArgs>(
        gather_rows, &OpTable::gather_rows,
        {.out = out, .in = harness->activations(in, {6, 17}), .rows = harness->ints<int>({5, 0, 5}, {3})});
    Values want = slice_of(in, 5, 6, 17);
    for (const int row : {0, 5}) want.insert(want.end(), in.begin() + row * 17, in.begin() + (row + 1) * 17);
    EXPECT_EQ(harness->get(out), want);
  });
}

}  // namespace
}  // namespace gale
