#include "backends/cuda/card.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gale::cuda {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST(Card, says_what_is_wrong_with_the_driver_and_what_to_do) {
  EXPECT_EQ(explain_no_device(cudaErrorInsufficientDriver, 0), "no NVIDIA driver is installed");
  EXPECT_THAT(explain_no_device(cudaErrorInsufficientDriver, 11'040),
              AllOf(HasSubstr("CUDA 11.4"), HasSubstr("update the driver")));
  EXPECT_THAT(explain_no_device(cudaErrorNoDevice, CUDART_VERSION), HasSubstr("sees no NVIDIA GPU"));
  for (const cudaError_t error : {cudaErrorInsufficientDriver, cudaErrorUnknown, cudaErrorSystemNotReady})
    EXPECT_THAT(explain_no_device(error, CUDART_VERSION), AllOf(HasSubstr("does not work"), HasSubstr("nvidia-smi")));
}

TEST(Card, refuses_what_is_older_than_its_kernels) {
  EXPECT_THAT(reason_against_card("Tesla V100", 7, 0, false).value_or(""),
              AllOf(HasSubstr("Tesla V100"), HasSubstr("7.0"), HasSubstr("8.0")));
  EXPECT_FALSE(reason_against_card("A100", 8, 0, true));
  EXPECT_FALSE(reason_against_card("H100", 9, 0, true));
  EXPECT_THAT(reason_against_card("B200", 10, 0, false).value_or(""),
              AllOf(HasSubstr("no kernels for B200"), HasSubstr("100-real")));
}

}  // namespace
}  // namespace gale::cuda
