#include "OneStepWorker.h"

#include "Async/Async.h"
#include "Misc/FileHelper.h"
#include "Misc/Paths.h"
#include "OneStepComponent.h"

FOneStepWorker::FOneStepWorker(UOneStepComponent& InOwner) : Owner(&InOwner) {}

FOneStepWorker::~FOneStepWorker()
{
	Ending.trigger();
	Cancel();
	Pipe.WaitUntilEmpty();
}

void FOneStepWorker::Open(const FString& File, uint32 Threads)
{
	Pipe.Launch(TEXT("OneStepOpen"), [this, File, Threads] {
		if (const auto Opened = OpenNow(File, Threads); !Opened) return TellFailure(Opened.error());
		Tell([Width = Model->info().width, Height = Model->info().height](UOneStepComponent& To) { To.Opened(Width, Height); });
	});
}

void FOneStepWorker::Draw(uint64 Seed, int32 Label)
{
	Pipe.Launch(TEXT("OneStepDraw"), [this, Seed, Label, Carried = Token] {
		TArray<uint8> Pixels;
		if (const auto Drawn = DrawNow(Seed, Label, Carried, Pixels); !Drawn) return TellFailure(Drawn.error());
		Tell([Pixels = MoveTemp(Pixels)](UOneStepComponent& To) { To.Drawn(Pixels); });
	});
}

void FOneStepWorker::Cancel()
{
	Token->trigger();
	Token = std::make_shared<const onestep::cancel>();
}

onestep::result<void> FOneStepWorker::OpenNow(const FString& File, uint32 Threads)
{
	const onestep::options How = onestep::options().threads(Threads).cancel(Ending);
	auto Opened = [&]() -> onestep::result<onestep::model> {
		if (File.IsEmpty()) return onestep::model::open_default(How);
		const FString Path = FPaths::IsRelative(File) ? FPaths::Combine(FPaths::ProjectContentDir(), File) : File;
		// The engine's way to a file: it may be inside a .pak.
		TArray64<uint8> Bytes;
		if (!FFileHelper::LoadFileToArray(Bytes, *Path))
			return onestep::failure(onestep::error{onestep::status::io, 0, std::string(TCHAR_TO_UTF8(*Path)) + ": cannot be read"});
		return onestep::model::open_memory(Bytes.GetData(), static_cast<size_t>(Bytes.Num()), How);
	}();
	if (!Opened) return onestep::failure(std::move(Opened).error());
	auto Started = Opened->start(How);
	if (!Started) return onestep::failure(std::move(Started).error());
	Model.emplace(*std::move(Opened));
	Session.emplace(*std::move(Started));
	return {};
}

onestep::result<void> FOneStepWorker::DrawNow(uint64 Seed, int32 Label, const FToken& Carried, TArray<uint8>& Pixels)
{
	if (!Session) return onestep::failure(onestep::error{onestep::status::invalid_argument, 0, "no model is open"});
	const onestep_model_info& Info = Model->info();
	onestep::request Request;
	Request.seeds({Seed}).cancel(*Carried);
	if (Info.num_classes != 0) Request.labels({Label});
	Pixels.SetNumUninitialized(Info.width * Info.height * 4);
	return Session->draw(Request, onestep::layout(onestep::format::bgra8), Pixels.GetData(), static_cast<size_t>(Pixels.Num()));
}

template <class CallType> void FOneStepWorker::Tell(CallType&& Call)
{
	AsyncTask(ENamedThreads::GameThread, [Whom = Owner, From = this, Call = Forward<CallType>(Call)] {
		UOneStepComponent* To = Whom.Get();
		if (To != nullptr && To->Worker.Get() == From) Call(*To);
	});
}

void FOneStepWorker::TellFailure(const onestep::error& Error)
{
	Tell([Code = static_cast<int32>(Error.code), Message = FString(UTF8_TO_TCHAR(Error.message.c_str()))](UOneStepComponent& To) {
		To.Failed(Code, Message);
	});
}
