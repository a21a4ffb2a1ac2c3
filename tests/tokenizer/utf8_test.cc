#include "model/tokenizer/utf8.h"

#include <gtest/gtest.h>

#include <string>

namespace longwave {
namespace {

TEST(Utf8Test, AcceptsEveryLengthAndTheEdges) {
  const std::string edges[] = {
      "",
      "plain",
      std::string("\0", 1),
      "\x7f",
      "\xc2\x80",          // U+0080
      "\xdf\xbf",          // U+07FF
      "\xe0\xa0\x80",      // U+0800
      "\xed\x9f\xbf",      // U+D7FF, the last before the surrogates
      "\xee\x80\x80",      // U+E000
      "\xef\xbf\xbf",      // U+FFFF
      "\xf0\x90\x80\x80",  // U+10000
      "\xf4\x8f\xbf\xbf",  // U+10FFFF
  };
  for (const std::string& text : edges) EXPECT_TRUE(ValidateUtf8(text).ok()) << text;
}

TEST(Utf8Test, RefusesEverythingElseAndSaysWhere) {
  const std::string bad[] = {
      "\x80",              // a continuation without a start
      "\xc0\xaf",          // overlong '/'
      "\xc1\xbf",          // overlong
      "\xe0\x9f\xbf",      // overlong
      "\xf0\x8f\xbf\xbf",  // overlong
      "\xed\xa0\x80",      // U+D800
      "\xed\xbf\xbf",      // U+DFFF
      "\xf4\x90\x80\x80",  // U+110000
      "\xf8\x88\x80\x80\x80",
      "\xff",
      "\xc3",          // cut off
      "\xe2\x82",      // cut off
      "\xf0\x9f\x98",  // cut off
      "\xe2(\xa1",     // a wrong continuation
  };
  for (const std::string& text : bad) {
    const absl::Status status = ValidateUtf8("ab" + text);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_EQ(status.message(), "text: found invalid UTF-8 at byte 2") << text;
  }
}

}  // namespace
}  // namespace longwave
