#ifndef LONGWAVE_MODEL_ATTENTION_CUDA_DIRECT_FUSED_TEAM_CUH_
#define LONGWAVE_MODEL_ATTENTION_CUDA_DIRECT_FUSED_TEAM_CUH_

#include "model/attention/cuda/direct_fused_items.cuh"
#include "model/attention/cuda/direct_fused_sums.cuh"

// Warpgroups that compute items together. Their tiles of keys, those of one item after those of the
// other, go round a ring of stages in shared memory. Each tile has an owner, which loads k and v,
// turns k into phi(k) in place shortly before the tile's turn, and later reuses its stage. The
// others learn of it by an mbarrier.
namespace longwave::attention::cuda::fused {

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

template <class C>
class Team {
 public:
  // longest: sequence that the weights have room for; rows of longer ones are computed in float64.
  // whole: tokens of a sequence of which all rows are one item, in one pass or two.
  // first, step: numbers of the team's items.
  __device__ Team(const DirectArgs& args, const TokenMaps& maps, int head, int longest, int whole,
                  int first, int step, typename C::Shared& shared)
      : args_(args),
        a_(args.attention),
        maps_(maps),
        head_(head),
        longest_(longest),
        whole_(whole),
        step_(step),
        shared_(shared),
        team_(static_cast<int>(threadIdx.x) / (C::kGroups * kGroupThreads)),
        group_(static_cast<int>(threadIdx.x) / kGroupThreads % C::kGroups),
        stages_(shared.stages[team_]),
        loaded_(shared.loaded[team_]),
        ready_(shared.ready[team_]),
        empty_(shared.empty[team_]),
        queries_(shared.queries[team_ * C::kRowGroups + RowGroup()]),
        queries_loaded_(shared.queries_loaded[Group() - KeyGroup()]),
        queries_ready_(shared.queries_ready[Group() - KeyGroup()]),
        doubtful_(shared.doubtful[team_ * C::kGroups + group_]),
        items_(shared.items[threadIdx.x / 32]),
        weights_(shared.weights + team_ * 2 * C::SecondCopy(longest)),
        cursor_(args.attention.sequences, whole, C::kRows),
        index_(first),
        load_(group_),
        convert_(group_) {}

  __device__ void Run() {
    if (GroupThread() < kTile / 32) doubtful_[GroupThread()] = 0;
    if (GroupThread() == 0) {
      for (int i = group_; i < C::kStages; i += C::kGroups) {
        loaded_[i].Init(1);
        ready_[i].Init(kGroupThreads);
        empty_[i].Init(4 * C::kRowGroups);
      }
      shared_.queries_loaded[Group()].Init(1);
      shared_.queries_ready[Group()].Init(kGroupThreads);
      hopper::FenceBarrierInit();
    }
    __syncwarp();
    Projection<C::kThreads> projection;
    projection.Load(a_, head_);
    tiles_ = Find(index_, items_[0]);
    // Before the tiles, behind which the table would wait.
    if (Item().valid) ComputeWeights(Shift());
    LoadQueries(Item(), 0);
    if (load_ < tiles_) LoadNext();
    projection.Store(shared_.projection);
    FindNext();
    hopper::FenceShared();
    __syncthreads();
    // Later than the first ones, which would wait for it.
    Recycle(-1);
    while (Item().valid) {
      RunItem();
      if (C::kKeyGroups > 1) return;  // PlanFused: a team for each item
      base_ += tiles_;
      tiles_ = next_tiles_;
      current_ ^= 1;
      FindNext();
      if (Item().valid) AdaptWeights();
    }
  }

 private:
  __device__ static int GroupThread() { return static_cast<int>(threadIdx.x) % kGroupThreads; }
  __device__ int Group() const { return team_ * C::kGroups + group_; }  // of the block
  __device__ int RowGroup() const { return group_ / C::kKeyGroups; }
  __device__ int KeyGroup() const { return group_ % C::kKeyGroups; }

  __device__ void TeamSync() {
    asm volatile("barrier.cta.sync %0, %1;" ::"r"(8 + team_), "n"(C::kGroups * kGroupThreads)
                 : "memory");
  }

  __device__ const SequenceTile& Item() const { return items_[current_]; }

  // Tiles of keys of the item that it finds.
  __device__ int Find(int index, SequenceTile& found) {
    const SequenceTile item = cursor_.Find(index);
    __syncwarp();
    if (threadIdx.x % 32 == 0) found = item;
    __syncwarp();
    return TilesOf(item);
  }

  __device__ void FindNext() {
    index_ += step_;
    next_tiles_ = Find(index_, items_[current_ ^ 1]);
  }

  __device__ int ItemRows(const SequenceTile& item) const {
    return item.length <= whole_ ? whole_ : C::kRows;
  }

  // Keys that any row of an item sees, in tiles; none where all is computed in float64.
  __device__ int TilesOf(const SequenceTile& item) const {
    if (!item.valid || item.length > longest_) return 0;
    int keys = item.length;
    if (a_.bias.causal) keys = min(keys, item.row + ItemRows(item));
    return (keys + kTile - 1) / kTile;
  }

  // Of this warpgroup, within the sequence. The second time in reverse: where keys after the query
  // are forbidden, all have as much to do.
  __device__ int FirstRow(const SequenceTile& item, int pass) const {
    return item.row + (pass == 0 ? RowGroup() : 2 * C::kRowGroups - 1 - RowGroup()) * kTile;
  }

  // Begins to load the rows of the next pass to the tile that the last one has left.
  __device__ void LoadQueries(const SequenceTile& item, int pass) {
    if (GroupThread() != 0 || KeyGroup() != 0 || !item.valid) return;
    queries_loaded_.ArriveAndExpect(kTileBytes);
    LoadTokens(queries_[pass_number_ % C::kQueryTiles], &maps_.q, head_,
               item.token_begin + FirstRow(item, pass), &queries_loaded_);
  }

  // The next tile that this warpgroup owns, once everyone is done with the one before it.
  __device__ void LoadNext() {
    if (GroupThread() == 0) {
      const int ahead = load_ - base_ >= tiles_ ? 1 : 0;
      const int tile = load_ - base_ - (ahead ? tiles_ : 0);
      const int token = items_[current_ ^ ahead].token_begin + tile * kTile;
      const int s = load_ % C::kStages;
      if (load_ >= C::kStages) empty_[s].Wait((load_ / C::kStages + 1) % 2);
      loaded_[s].ArriveAndExpect(2 * kTileBytes);
      LoadTokens(stages_[s].keys, &maps_.k, head_, token, &loaded_[s]);
      LoadTokens(stages_[s].values, &maps_.v, head_, token, &loaded_[s]);
    }
    __syncwarp();
    load_ += C::kGroups;
  }

  // Loads to stages that no tile has had, and where the tile before it lies at least kSlack behind
  // `position`: others are done with it, too.
  __device__ void Recycle(int position) {
    while ((load_ < C::kStages || load_ - C::kStages + kSlack <= position) &&
           load_ < base_ + tiles_ + next_tiles_) {
      LoadNext();
    }
  }

  // k of the next tile that this warpgroup owns becomes phi(k).
  __device__ void ConvertNext() {
    const int ahead = convert_ - base_ >= tiles_ ? 1 : 0;
    const int tile = convert_ - base_ - (ahead ? tiles_ : 0);
    const int valid = items_[current_ ^ ahead].length - tile * kTile;
    const int s = convert_ % C::kStages;
    loaded_[s].Wait(convert_ / C::kStages % 2);
    if (valid < kTile) {
      ClearRows(stages_[s].keys, valid);
      ClearRows(stages_[s].values, valid);
      hopper::FenceShared();
      GroupSync(Group());
    }
    Convert(a_, stages_[s].keys, /*keys=*/true, valid, shared_.projection);
    hopper::FenceShared();
    ready_[s].Arrive();
    convert_ += C::kGroups;
  }

  __device__ float Shift() const { return ShiftOf(args_, head_, Item(), ItemRows(Item())); }

  __device__ void AdaptWeights() {
    const float shift = Shift(), made = shared_.shifts[team_];
    // What is a little too large costs nothing but range.
    if (shift <= made && shift >= made - 20) return;
    TeamSync();
    ComputeWeights(shift);
    TeamSync();
  }

  // exp(b - shift) of every distance t, at t + Reach - 1.
  __device__ void ComputeWeights(float shift) {
    const BiasView& bias = a_.bias;
    const int edge = bias.columns / 2, reach = C::Reach(longest_);
    const int second = C::SecondCopy(longest_);
    const float* const table = bias.data + static_cast<int64_t>(head_) * bias.columns + edge;
    const int thread = static_cast<int>(threadIdx.x) % (C::kGroups * kGroupThreads);
    if (thread == 0) shared_.shifts[team_] = shift;
    for (int x = thread; x < 2 * reach; x += C::kGroups * kGroupThreads) {
      const int distance = x - (reach - 1);
      const float b = __ldg(table + max(-edge, min(distance, edge)));
      const float weight = bias.causal && distance > 0 ? 0.0f : Exp2((b - shift) * kLog2E);
      weights_[x] = weight;
      if (x > 0) weights_[second + x - 1] = weight;
    }
  }

  __device__ void RunItem() {
    const int length = Item().length;
    const int passes = length <= whole_ && length > C::kRows ? 2 : 1;
    for (int pass = 0; pass < passes; ++pass) {
      const bool last = pass + 1 == passes;
      const char* const queries = ConvertQueries();
      LoadQueries(items_[current_ ^ (last ? 1 : 0)], last ? 0 : pass + 1);
      Sums sums;
      Walk(pass, last, queries, sums);
      if (C::kKeyGroups > 1) Merge(sums);
      bool doubts = false;
      if (KeyGroup() == 0) {
        doubts = WriteRows(args_, head_, Item(), FirstRow(Item(), pass), sums, doubtful_);
      }
      if (hopper::AnyOf(doubts, Group() + 1, kGroupThreads)) Repair(pass);
    }
  }

  // phi(q) of this pass, in the place of q. Warpgroups of the same rows share it.
  __device__ const char* ConvertQueries() {
    char* const tile = queries_[pass_number_ % C::kQueryTiles];
    if (KeyGroup() == 0) {
      queries_loaded_.Wait(pass_number_ % 2);
      Convert(a_, tile, /*keys=*/false, kTile, shared_.projection);
      hopper::FenceShared();
    }
    ++pass_number_;
    if (C::kKeyGroups == 1) {
      GroupSync(Group());
      return tile;
    }
    if (KeyGroup() == 0) {
      queries_ready_.Arrive();
    } else if (convert_ < load_) {
      ConvertNext();  // meanwhile
    }
    queries_ready_.Wait(0);  // the team has one item
    return tile;
  }

  // Adds up the tiles of this warpgroup's keys.
  __device__ void Walk(int pass, bool last, const char* queries, Sums& sums) {
    const int thread = GroupThread(), lane = thread % 32;
    const int first = FirstRow(Item(), pass);
    const int row = first + thread / 32 * 16 + lane / 4;
    const int corner = 2 * (lane % 4) - row + C::Reach(longest_) - 1;
    const float* const weights =
        weights_ + (corner % 2 == 0 ? corner : C::SecondCopy(longest_) + corner - 1);
    // Keys that any of the 64 rows sees.
    int end = first >= Item().length ? 0 : Item().length;
    if (a_.bias.causal) end = min(end, first + kTile);
    sums.Clear();

    int previous = -1;  // stage of the tile whose values are being multiplied
    // A team of one warpgroup need not wait for others.
    Recycle(base_ - 1 + (C::kGroups == 1 ? kSlack : 0));
#pragma unroll 1
    for (int tile = KeyGroup(); tile < tiles_; tile += C::kKeyGroups) {
      const int c = base_ + tile;
      while (load_ <= c) LoadNext();
      if (convert_ <= c + kAhead && convert_ < load_) ConvertNext();
      const int s = c % C::kStages;
      ready_[s].Wait(c / C::kStages % 2);
      if (tile * kTile < end) {
        float scores[kRegisters];
        Fragments products;
        hopper::WgmmaFence();
        MultiplyKeys(queries, stages_[s].keys, scores);
        hopper::WgmmaCommit();
        hopper::WgmmaWait<0>();
        hopper::Hold(scores);
        hopper::Hold(sums.values);
        Free(previous);
        Weigh(scores, weights + tile * kTile, products, sums.denominators);
        hopper::WgmmaFence();
        MultiplyValues(products, stages_[s].values, sums);
        hopper::WgmmaCommit();
        previous = last ? s : -1;
      } else {
        hopper::WgmmaWait<0>();
        hopper::Hold(sums.values);
        Free(previous);
        if (last) Free(s);
        previous = -1;
      }
      Recycle(last ? c : min(c, base_ - 1 + kSlack));
    }
    hopper::WgmmaWait<0>();
    hopper::Hold(sums.values);
    Free(previous);
  }

  __device__ void Free(int stage) {
    if (stage < 0) return;
    __syncwarp();
    if (threadIdx.x % 32 == 0) empty_[stage].Arrive();
  }

  // Adds up what the warpgroups of the same rows have found. Only for a team that has one item.
  __device__ void Merge(Sums& sums) {
    float* const parts = reinterpret_cast<float*>(stages_) + group_ * kPartFloats;
    static_assert(C::kGroups * kPartFloats * 4 <= sizeof(shared_.stages[0]));
    TeamSync();  // nobody reads tiles any more
    if (KeyGroup() > 0) StorePart(sums, parts);
    TeamSync();
    if (KeyGroup() > 0) return;
#pragma unroll
    for (int other = 1; other < C::kKeyGroups; ++other) AddPart(sums, parts + other * kPartFloats);
  }

  // Computes this warpgroup's rows in doubt in float64, in the place of their queries.
  __device__ void Repair(int pass) {
    double* const scratch =
        reinterpret_cast<double*>(queries_[(pass_number_ - 1) % C::kQueryTiles]);
    for (int half = 0; half < kTile / 32; ++half) {
      for (uint32_t rows = doubtful_[half]; rows != 0; rows &= rows - 1) {
        const int row = FirstRow(Item(), pass) + 32 * half + __ffs(static_cast<int>(rows)) - 1;
        RepairRow(a_, Item().token_begin + row, head_, scratch);
        GroupSync(Group());
      }
    }
    hopper::FenceShared();
    GroupSync(Group());
    if (GroupThread() < kTile / 32) doubtful_[GroupThread()] = 0;
  }

  // A tile is converted so long before its turn, and loaded so long after its stage's last use.
  static constexpr int kAhead = C::kKeyGroups == 4 ? 0 : C::kGroups == 4 ? 2 : 1;
  static constexpr int kSlack = C::kKeyGroups == 4 ? 4 : C::kGroups == 4 ? 2 : 1;
  static_assert(kSlack >= C::kKeyGroups && kSlack < C::kStages);

  const DirectArgs& args_;
  const AttentionArgs& a_;
  const TokenMaps& maps_;
  const int head_;
  const int longest_;
  const int whole_;
  const int step_;
  typename C::Shared& shared_;
  const int team_;
  const int group_;
  typename C::Stage (&stages_)[C::kStages];
  hopper::Barrier (&loaded_)[C::kStages];
  hopper::Barrier (&ready_)[C::kStages];
  hopper::Barrier (&empty_)[C::kStages];
  char (&queries_)[C::kQueryTiles][kTileBytes];
  hopper::Barrier& queries_loaded_;
  hopper::Barrier& queries_ready_;
  uint32_t (&doubtful_)[kTile / 32];
  SequenceTile (&items_)[2];
  float* const weights_;

  ItemCursor cursor_;
  int index_;        // of the next item, or past the last
  int current_ = 0;  // of items_
  int tiles_ = 0, next_tiles_ = 0;
  // Tiles are numbered through all items.
  int base_ = 0;  // the item's first
  int load_;      // the next ones of this warpgroup to be loaded and converted
  int convert_;
  int pass_number_ = 0;  // of the next pass, through all items
};

#endif  // __CUDA_ARCH_FEAT_SM90_ALL

}  // namespace longwave::attention::cuda::fused

#endif  // LONGWAVE_MODEL_ATTENTION_CUDA_DIRECT_FUSED_TEAM_CUH_
