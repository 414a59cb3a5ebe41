#pragma once

#include "Components/ActorComponent.h"
#include "CoreMinimal.h"
#include "OneStepComponent.generated.h"

class FOneStepWorker;
class UTexture2D;

DECLARE_DYNAMIC_MULTICAST_DELEGATE_OneParam(FOneStepOpened, UTexture2D*, Texture);
DECLARE_DYNAMIC_MULTICAST_DELEGATE_OneParam(FOneStepDrawn, UTexture2D*, Texture);
DECLARE_DYNAMIC_MULTICAST_DELEGATE_TwoParams(FOneStepFailed, int32, Code, const FString&, Message);

/**
 * Draws images of a one-step generator into a texture. Opening and drawing happen on a background task, one at a time and in
 * the order asked for; every delegate is called on the game thread, and none after EndPlay.
 */
UCLASS(ClassGroup = (Rendering), meta = (BlueprintSpawnableComponent))
class ONESTEP_API UOneStepComponent : public UActorComponent
{
	GENERATED_BODY()

public:
	UOneStepComponent();

	/** A file in onestep's own format, in the project's Content folder unless absolute; empty: the model inside the library. */
	UPROPERTY(EditAnywhere, BlueprintReadOnly, Category = "OneStep")
	FString ModelFile;

	/** Threads that draw; 0: all that the process may use. */
	UPROPERTY(EditAnywhere, BlueprintReadOnly, Category = "OneStep", meta = (ClampMin = "0", ClampMax = "1024"))
	int32 Threads = 1;

	/** Of the model's size, B8G8R8A8; there from OnOpened on, and written anew by every drawing. */
	UPROPERTY(BlueprintReadOnly, Transient, Category = "OneStep")
	TObjectPtr<UTexture2D> Texture;

	UPROPERTY(BlueprintAssignable, Category = "OneStep")
	FOneStepOpened OnOpened;

	/** The texture has the image that was asked for. */
	UPROPERTY(BlueprintAssignable, Category = "OneStep")
	FOneStepDrawn OnDrawn;

	/** Code: ONESTEP_* of onestep.h. */
	UPROPERTY(BlueprintAssignable, Category = "OneStep")
	FOneStepFailed OnFailed;

	/** All 64 bits of the seed count. Label is ignored by models that take none. May be called before OnOpened. */
	UFUNCTION(BlueprintCallable, Category = "OneStep")
	void Draw(int64 Seed, int32 Label);

	/** Ends what is drawing, and what waits to be drawn, with ONESTEP_CANCELLED. What is asked for later is drawn. */
	UFUNCTION(BlueprintCallable, Category = "OneStep")
	void Cancel();

	virtual void BeginPlay() override;
	virtual void EndPlay(const EEndPlayReason::Type Reason) override;

private:
	friend class FOneStepWorker;
	void Opened(int32 Width, int32 Height);
	void Drawn(const TArray<uint8>& Pixels);
	void Failed(int32 Code, const FString& Message);

	/** From BeginPlay to EndPlay. A shared pointer for the sake of a type that is not known here. */
	TSharedPtr<FOneStepWorker, ESPMode::ThreadSafe> Worker;
};
